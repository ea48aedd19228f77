"""Long addresses: what is taken, how it is kept, what is refused; and loops, however written."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.apps.shortener.contract import TARGET_CHARACTERS_MAX, TargetRefused
from bastide.apps.shortener.core.targets import parse, places_of, refuse_own

KEPT = [
    "http://example.com",
    "https://example.com/",
    "https://example.com/a/../b?x=1&y=%20#part",
    "https://example.com:8443/path",
    "http://localhost:3000/",
    "http://192.0.2.1/x",
    "http://[2001:db8::1]:8080/",
    "https://a_b.example.com/~user/(x),y;z='1'!*$+@:",
    "https://example.com?" + "&".join(f"{n}={n}" for n in range(200)),
]
REWRITTEN = {
    "HTTPS://Example.COM/Path": "https://example.com/Path",
    "https://example.com:443/a": "https://example.com/a",
    "http://example.com:080/a": "http://example.com/a",
    "http://example.com:/a": "http://example.com/a",
    "  https://example.com/a  ": "https://example.com/a",
    "https://example.com./a": "https://example.com/a",
    "https://example.com/a b\u00fc": "https://example.com/a%20b%C3%BC",
    'https://example.com/<script>"{}|^`': "https://example.com/%3Cscript%3E%22%7B%7D%7C%5E%60",
    "http://B\u00fccher.example": "http://xn--bcher-kva.example",
    "http://ex\uff41mple\u3002com/": "http://example.com/",
    "http://0x7f.1/": "http://127.0.0.1/",
    "http://2130706433/": "http://127.0.0.1/",
    "http://017700000001/": "http://127.0.0.1/",
    "http://\uff11\uff12\uff17.1/": "http://127.0.0.1/",
    "http://[2001:DB8:0::1]/": "http://[2001:db8::1]/",
}
REFUSED = {
    "": "begins with http",
    "example.com": "begins with http",
    "/path": "begins with http",
    "//example.com": "begins with http",
    "http:example.com": "begins with http",
    "http:/example.com": "begins with http",
    "javascript:alert(1)": "begins with http",
    "JaVaScRiPt://example.com/%0aalert(1)": "begins with http",
    "data:text/html,<script>alert(1)</script>": "begins with http",
    "vbscript:x": "begins with http",
    "file:///etc/passwd": "begins with http",
    "ftp://example.com/": "begins with http",
    "blob:https://example.com/1": "begins with http",
    " javascript:alert(1)": "begins with http",
    "http://": "no host",
    "http:///path": "no host",
    "http://user@example.com/": "user or password",
    "http://user:secret@example.com/": "user or password",
    "http://example.com@evil.example/": "user or password",
    "http://exa mple.com/": "no host",
    "http://exa%6dple.com/": "no host",
    "http://example..com/": "no host name",
    "http://.example.com/": "no host name",
    "http://example.com../": "no host name",
    "http://" + "a" * 64 + ".example/": "no host name",
    "http://exa<mple.com/": "no host name",
    "http://\u2764.example/": "no host name",
    "http://a\u200db.example/": "no host name",
    "http://example.com:65536/": "no port",
    "http://example.com:0/": "no port",
    "http://example.com:80a/": "no host and port",
    "http://example.com:-1/": "no host and port",
    "http://256.1.1.1/": "IPv4",
    "http://1.2.3.4.5/": "IPv4",
    "http://0x1ffffffff/": "IPv4",
    "http://08.1.1.1/": "IPv4",
    "http://[::1/": "no host",
    "http://[:::1]/": "IPv6",
    "http://[fe80::1%25eth0]/": "no host",
    "http://example.com\\@evil.example/": "write it as %XX",
    "http://example.com/a\\b": "write it as %XX",
    "http://example.com/\r\nset-cookie: a=b": "write it as %XX",
    "http://example.com/\x00": "write it as %XX",
    "http://exam\tple.com/": "write it as %XX",
    "http://example.com/\x7f": "write it as %XX",
    "http://example.com/\u2028": "write it as %XX",
    "http://example.com/\ud800": "write it as %XX",
}


@pytest.mark.box("shortener.bad-input")
@pytest.mark.parametrize("url", KEPT)
def test_an_address_is_kept_as_it_was_given(url):
    assert parse(url).url == url


@pytest.mark.box("shortener.bad-input")
@pytest.mark.parametrize("url", REWRITTEN, ids=ascii)
def test_an_address_is_rewritten_so_that_it_is_read_in_one_way(url):
    assert parse(url).url == REWRITTEN[url]


@pytest.mark.box("shortener.bad-input")
@pytest.mark.parametrize("url", REFUSED, ids=ascii)
def test_what_can_be_read_in_two_ways_is_refused(url):
    with pytest.raises(TargetRefused, match=REFUSED[url]):
        parse(url)


@pytest.mark.box("shortener.homographs")
@pytest.mark.parametrize(
    ("shown", "kept"),
    [
        ("https://\u0430\u0440\u0440\u04cf\u0435.com/", "https://xn--80ak6aa92e.com/"),
        ("https://ex\u0430mple.com/", "https://xn--exmple-4nf.com/"),
        ("https://fa\u00df.de/", "https://xn--fa-hia.de/"),
    ],
)
def test_a_homograph_is_shown_in_punycode(shown, kept):
    assert parse(shown).url == kept


def test_addresses_of_2048_characters_are_taken_and_one_more_is_not():
    front = "https://example.com/"
    longest = front + "a" * (TARGET_CHARACTERS_MAX - len(front))
    assert parse(longest).url == longest
    with pytest.raises(TargetRefused, match="2049 characters; at most 2048"):
        parse(longest + "a")


def test_an_address_that_grows_over_2048_by_escapes_is_refused():
    with pytest.raises(TargetRefused, match="at most 2048"):
        parse("https://example.com/" + "\u00fc" * 1000)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://example.com", "https://EXAMPLE.com:443/", True),
        ("https://example.com/%c3%bc", "https://example.com/\u00fc", True),
        ("https://example.com?a", "https://example.com/?a", True),
        ("https://example.com/a", "https://example.com/A", False),
        ("https://example.com/a", "https://example.com/a/", False),
        ("http://example.com/", "https://example.com/", False),
        ("https://example.com/?a=1", "https://example.com/?a=2", False),
        ("https://example.com/#a", "https://example.com/#b", False),
    ],
)
def test_equal_places_have_one_hash(one, other, same):
    assert (parse(one).hash == parse(other).hash) == same


OWN = ["http://127.0.0.1:8801", "https://sho.rt", "http://town.example:8800/shortener"]
OURS = [
    "http://127.0.0.1:8801/abc",
    "http://localhost:8801/abc",
    "HTTP://LOCALHOST:8801/abc",
    "http://localhost.:8801/abc",
    "http://any.localhost:8801/",
    "https://localhost:8801/abc",
    "http://127.1:8801/",
    "http://127.8.9.10:8801/",
    "http://0x7f000001:8801/",
    "http://2130706433:8801/",
    "http://0177.0.0.1:8801/",
    "http://0.0.0.0:8801/",
    "http://0:8801/",
    "http://[::1]:8801/",
    "http://[::]:8801/",
    "http://[::ffff:127.0.0.1]:8801/",
    "http://[::ffff:7f00:1]:8801/",
    "http://[0:0:0:0:0:0:0:1]:08801/",
    "http://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3:8801/",
    "https://sho.rt/",
    "https://SHO.RT./abc?x#y",
    "http://sho.rt/",
    "http://sho.rt:443/",
    "https://sho\u3002rt/",
    "http://town.example:8800/",
    "http://town.example:8800/other",
]
OTHERS = [
    "http://127.0.0.1:8802/",
    "http://localhost/",
    "https://sho.rt:8443/",
    "https://www.sho.rt/",
    "https://sho.rt.example/",
    "https://example.com/?to=https://sho.rt/abc",
    "http://town.example/",
    "http://128.0.0.1:8801/",
]


@pytest.mark.box("shortener.loops")
@pytest.mark.parametrize("url", OURS, ids=ascii)
def test_a_link_to_ourselves_is_refused_however_it_is_written(url):
    own = {place for address in OWN for place in places_of(address)}
    with pytest.raises(TargetRefused, match="leads back"):
        refuse_own(parse(url), own)


@pytest.mark.box("shortener.loops")
@pytest.mark.parametrize("url", OTHERS)
def test_a_neighbour_is_not_ourselves(url):
    own = {place for address in OWN for place in places_of(address)}
    refuse_own(parse(url), own)


@given(st.text(max_size=60))
def test_any_text_is_refused_or_becomes_an_address_that_stays_as_it_is(text):
    for url in (text, f"http://{text}", f"https://example.com/{text}"):
        try:
            target = parse(url)
        except TargetRefused:
            continue
        assert target.url.isascii()
        assert target.url.isprintable()
        assert " " not in target.url
        assert parse(target.url) == target


@given(st.ip_addresses(v=4))
def test_every_spelling_of_an_ipv4_address_is_one_place(address):
    number = int(address)
    spellings = [str(address), str(number), hex(number), f"0{number:o}"]
    a, b, c, d = address.packed
    spellings += [f"{a}.{b}.{(c << 8) + d}", f"0x{a:x}.{int.from_bytes([b, c, d])}"]
    places = {parse(f"http://{text}:99/").place for text in spellings}
    assert len(places) == 1
    assert parse(f"http://{number}/").url == f"http://{ipaddress.IPv4Address(number)}/"
