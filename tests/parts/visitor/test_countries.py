"""Countries: the bundled file, look-ups against a simple model, the tool that writes it."""

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.parts.visitor import countries as module
from bastide.parts.visitor.core import COUNTRIES
from bastide.parts.visitor.countries import ADDRESS_CHARACTERS_MAX, Countries, bundled, pack
from tools import countries as tool

NOTICE = Path(module.__file__).with_name("NOTICE")

# Of networks that have been where they are for decades.
KNOWN = [
    ("193.0.6.139", "NL"),  # RIPE NCC
    ("130.59.31.80", "CH"),  # Switch
    ("133.11.0.1", "JP"),  # University of Tokyo
    ("200.160.2.3", "BR"),  # NIC.br
    ("18.9.22.69", "US"),  # MIT
    ("129.199.1.1", "FR"),  # ENS
    ("77.88.8.8", "RU"),  # Yandex
    ("2001:620::1", "CH"),
    ("2001:4860:4860::8888", "US"),
    ("2a01:e0a::1", "FR"),
    ("2001:200::1", "JP"),
]
NOBODYS = [
    *("0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.1.1", "172.16.0.1"),
    *("172.31.255.255", "192.168.1.1", "192.0.2.1", "198.51.100.7", "203.0.113.9"),
    *("224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1"),
    *("2001:db8::1", "2002:c100:68b::1", "ff02::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1"),
]
BROKEN = [
    *("", " ", "unknown", "testclient", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.4:80"),
    *("1.2.3.-4", "1_0.2.3.4", "+1.2.3.4", "1.2.3.٤", "1..2.3", "....", ":", "1::2::3", "[::1]"),
    *("12345::1", "/run/town.sock", "\x00", "\ud800", "9" * 5000, "1" * 45 + ".2.3.4"),
]


@pytest.mark.box("visitor.countries")
@pytest.mark.parametrize(("address", "country"), KNOWN)
def test_an_address_is_in_its_networks_country(address, country):
    assert bundled().of(address) == country


@pytest.mark.box("visitor.countries")
@pytest.mark.parametrize("address", [*NOBODYS, *BROKEN])
def test_what_is_no_public_address_has_no_country(address):
    assert bundled().of(address) == ""


def test_an_ipv4_in_an_ipv6_is_looked_up_as_ipv4():
    assert bundled().of("::ffff:193.0.6.139") == "NL"
    assert bundled().of("::FFFF:c100:068b") == "NL"


@pytest.mark.limit("visitor.ADDRESS_CHARACTERS_MAX")
def test_an_address_is_read_up_to_the_longest_that_there_is():
    longest = "0000:0000:0000:0000:0000:ffff:130.159.131.180"
    assert len(longest) == ADDRESS_CHARACTERS_MAX
    assert bundled().of(longest) == "GB"
    spelled = "2001:4860:4860:0000:0000:0000:0000:8888%eth012"
    assert bundled().of(spelled[:-1]) == "US"
    assert bundled().of(spelled) == ""


def test_the_bundled_file_knows_countries_of_iso_3166_and_no_others():
    found = {bundled().of(f"{a}.{b}.0.1") for a in range(256) for b in range(256)}
    assert found <= COUNTRIES | {""}
    assert len(found) > 150


def test_the_notice_names_the_source_and_its_licence():
    said = " ".join(NOTICE.read_text(encoding="utf-8").split())
    assert bundled().source in said
    for owed in ("nro.net", "Number Resource Organization", "CC BY 4.0", "Changes:"):
        assert owed in said


codes = st.sampled_from(["", "CH", "DE", "NL"])


@given(
    st.dictionaries(st.integers(1, (1 << 32) - 1), codes, max_size=30),
    st.dictionaries(st.integers(1, (1 << 64) - 1), codes, max_size=30),
    st.data(),
)
def test_an_address_is_whose_range_started_last(starts4, starts6, data):
    ipv4, ipv6 = sorted({0: "", **starts4}.items()), sorted({0: "", **starts6}.items())
    countries = Countries(pack("made here", ipv4, ipv6))
    edges4 = st.sampled_from([s for s, _ in ipv4]).flatmap(lambda s: st.sampled_from([s, s - 1]))
    number = data.draw(edges4.map(lambda n: n % (1 << 32)) | st.integers(0, (1 << 32) - 1))
    wanted = [code for start, code in ipv4 if start <= number][-1]
    assert countries.of(str(ipaddress.IPv4Address(number))) == wanted
    upper = data.draw(st.sampled_from([s for s, _ in ipv6]) | st.integers(1, (1 << 64) - 1))
    host = data.draw(st.integers(1 << 33, (1 << 64) - 1))
    wanted = [code for start, code in ipv6 if start <= upper][-1]
    assert countries.of(str(ipaddress.IPv6Address(upper << 64 | host))) == wanted


def test_neither_text_nor_number_raises():
    @given(st.text() | st.ip_addresses().map(str))
    def holds(address):
        assert bundled().of(address) in COUNTRIES | {""}

    holds()


def package(directory: Path, ipv4: str, ipv6: str = "") -> Path:
    directory.mkdir()
    (directory / "package.json").write_text('{"name": "@some/where", "version": "1.2"}')
    (directory / "any-ipv4-num.csv").write_text(ipv4)
    (directory / "any-ipv6-num.csv").write_text(ipv6)
    return directory


def rows(*ranges: tuple[str, str, str]) -> str:
    numbers = (
        (int(ipaddress.ip_address(a)), int(ipaddress.ip_address(b)), c) for a, b, c in ranges
    )
    return "".join(f"{first},{last},{country}\n" for first, last, country in numbers)


IPV4 = rows(
    ("1.0.0.0", "1.0.0.255", "AU"),
    ("1.0.1.0", "1.0.1.255", "AU"),  # one range with the first
    ("5.0.0.0", "5.0.255.255", "DE"),
    ("5.0.7.0", "5.0.7.255", "CH"),  # within
    ("5.0.7.9", "5.0.7.9", "FR"),  # and within that
    ("6.0.0.0", "6.0.0.255", "XK"),  # not of ISO 3166-1
    ("192.168.0.0", "192.168.255.255", "AU"),  # nobody's, whatever is said
    ("223.255.255.0", "255.255.255.255", "JP"),
)
IPV6 = rows(
    ("2001:200::", "2001:200:ffff:ffff:ffff:ffff:ffff:ffff", "JP"),
    ("2001:200:5::8", "2001:200:5::9", "NL"),  # smaller than a /64
    ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "JP"),
)


@pytest.mark.box("visitor.tool")
@pytest.mark.parametrize(
    ("address", "country"),
    [
        ("0.255.255.255", ""),
        ("1.0.0.0", "AU"),
        ("1.0.1.255", "AU"),
        ("1.0.2.0", ""),
        ("5.0.6.255", "DE"),
        ("5.0.7.8", "CH"),
        ("5.0.7.9", "FR"),
        ("5.0.7.10", "CH"),
        ("5.0.8.0", "DE"),
        ("5.1.0.0", ""),
        ("6.0.0.1", ""),
        ("192.168.1.1", ""),
        ("223.255.255.1", "JP"),
        ("224.0.0.1", ""),
        ("255.255.255.255", ""),
        ("2001:1ff:ffff::1", ""),
        ("2001:200:5::8", "JP"),
        ("2001:201::1", ""),
        ("2001:db8::1", ""),
    ],
)
def test_the_tool_gives_an_address_to_the_narrowest_range(address, country, tmp_path):
    countries = Countries(tool.packed(package(tmp_path / "package", IPV4, IPV6)))
    assert countries.of(address) == country
    assert countries.source == "@some/where 1.2"


@pytest.mark.box("visitor.tool")
def test_the_tool_writes_the_same_file_of_the_same_rows_in_any_order(tmp_path):
    backwards = "".join(reversed(IPV4.splitlines(keepends=True)))
    made = [
        tool.packed(package(tmp_path / name, ipv4, IPV6))
        for name, ipv4 in (("a", IPV4), ("b", IPV4), ("c", backwards))
    ]
    assert made[0] == made[1] == made[2]


def test_the_tool_says_how_it_is_called(capsys):
    assert tool.main([]) == 2
    assert "python -m tools.countries DIRECTORY" in capsys.readouterr().out
