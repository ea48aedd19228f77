"""The PROXY protocol, version 2: haproxy.org, proxy-protocol.txt, section 2.2."""

import ipaddress

import google_crc32c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.base.errors import Invalid
from bastide.parts.http.core.proxy_protocol import (
    PROXY_BYTES_MAX,
    SIGNATURE,
    TLVS_MAX,
    Address,
    Proxied,
    ProxyHeaderWrong,
    parse,
)

LOCAL, PROXY = 0x20, 0x21
SIZES = {0x00: 0, 0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}
NOOP, CRC32C = 0x04, 0x03
TCP4 = bytes((192, 0, 2, 1, 198, 51, 100, 7)) + (56_324).to_bytes(2) + (443).to_bytes(2)
CLIENT, SERVER = Address("192.0.2.1", 56_324), Address("198.51.100.7", 443)

ports = st.integers(0, 65_535)
vectors = st.lists(
    st.tuples(st.integers(0, 255).filter(lambda t: t != CRC32C), st.binary(max_size=40)),
    max_size=4,
)


def header(family=0x11, block=TCP4, *, command=PROXY):
    return SIGNATURE + bytes((command, family)) + len(block).to_bytes(2) + block


def vector(type_, value):
    return bytes((type_,)) + len(value).to_bytes(2) + value


def joined(pairs):
    return b"".join(vector(type_, value) for type_, value in pairs)


def with_crc(family, addresses, *, before=b"", after=b""):
    """As a sender makes it: zeros in its place, the CRC32C of all, then the CRC32C (2.2.3)."""
    block = addresses + before + vector(CRC32C, bytes(4)) + after
    made = header(family, block)
    at = 16 + len(addresses) + len(before) + 3
    return made[:at] + google_crc32c.value(made).to_bytes(4) + made[at + 4 :]


@st.composite
def headers(draw):
    """Valid headers of every command, family and transport, with and without a CRC32C."""
    if draw(st.booleans()) and draw(st.booleans()):
        return header(draw(st.integers(0, 255)), draw(st.binary(max_size=40)), command=LOCAL)
    family = draw(st.sampled_from(sorted(SIZES)))
    addresses = draw(st.binary(min_size=SIZES[family], max_size=SIZES[family]))
    if family == 0:
        return header(0, draw(st.binary(max_size=40)))
    before, after = joined(draw(vectors)), joined(draw(vectors))
    if draw(st.booleans()):
        return with_crc(family, addresses, before=before, after=after)
    return header(family, addresses + before + after)


@given(st.ip_addresses(v=4), st.ip_addresses(v=4), ports, ports, vectors)
def test_the_client_and_what_it_connected_to_are_told_over_ipv4(one, other, from_, to, tlvs):
    block = one.packed + other.packed + from_.to_bytes(2) + to.to_bytes(2) + joined(tlvs)
    data = header(0x11, block)
    assert parse(data) == Proxied(len(data), Address(str(one), from_), Address(str(other), to))


@given(st.ip_addresses(v=6), st.ip_addresses(v=6), ports, ports)
def test_the_client_and_what_it_connected_to_are_told_over_ipv6(one, other, from_, to):
    data = header(0x21, one.packed + other.packed + from_.to_bytes(2) + to.to_bytes(2))
    hosts = [str(address.ipv4_mapped or address) for address in (one, other)]
    assert parse(data) == Proxied(len(data), Address(hosts[0], from_), Address(hosts[1], to))


def test_an_ipv4_address_inside_ipv6_is_told_as_ipv4():
    mapped = ipaddress.IPv6Address("::ffff:192.0.2.1").packed
    found = parse(header(0x21, mapped + ipaddress.IPv6Address("2001:db8::1").packed + bytes(4)))
    assert (found.source.host, found.destination.host) == ("192.0.2.1", "2001:db8::1")


@pytest.mark.parametrize(
    ("path", "host"),
    [
        (b"/run/client.sock", "/run/client.sock"),
        (b"/" + b"a" * 107, "/" + "a" * 107),
        (b"", ""),
        (b"\0abstract", "@abstract"),
        (b"/\xff", "/\\xff"),
    ],
)
def test_a_unix_socket_is_told_by_its_path(path, host):
    data = header(0x31, path.ljust(108, b"\0") + b"/run/town.sock".ljust(108, b"\0"))
    assert parse(data) == Proxied(len(data), Address(host), Address("/run/town.sock"))


@pytest.mark.parametrize("family", [0x00, 0x12, 0x22, 0x32])
def test_the_addresses_of_datagrams_and_of_the_unspecified_are_skipped(family):
    """2.2: a receiver "automatically falls back to the UNSPEC mode for the valid combinations above
    that it does not support".
    """
    data = header(family, bytes(SIZES[family]) + vector(NOOP, b"x"))
    assert parse(data) == Proxied(len(data))


@given(st.integers(0, 255), st.binary(max_size=300))
def test_the_proxys_own_connection_is_itself_whatever_follows(family, block):
    """2.2: LOCAL "must use the real connection endpoints and discard the protocol block including
    the family which is ignored".
    """
    data = header(family, block, command=LOCAL)
    assert parse(data + b"GET / HTTP/1.1\r\n") == Proxied(len(data))


@given(headers(), st.binary(max_size=20))
def test_what_follows_the_header_belongs_to_the_connection(data, rest):
    found = parse(data + rest)
    assert found is not None
    assert found.consumed == len(data)
    assert found == parse(data)


@settings(deadline=None)
@given(headers())
def test_of_every_truncation_more_is_needed(data):
    for length in range(len(data)):
        assert parse(data[:length]) is None


def refused_at(data):
    """How many bytes it takes until `data` is refused; None if it never is."""
    for length in range(len(data) + 1):
        try:
            parse(data[:length])
        except ProxyHeaderWrong:
            return length
    return None


@settings(deadline=None)
@given(st.integers(0, 11), st.integers(1, 255))
def test_another_signature_is_refused_at_its_first_wrong_byte(at, flip):
    data = bytearray(header())
    data[at] ^= flip
    assert refused_at(bytes(data)) == at + 1


@settings(deadline=None)
@given(st.integers(0, 255))
def test_another_version_or_command_is_refused_at_once(byte):
    """2.2: "Receivers must drop connections presenting unexpected values here"."""
    assert refused_at(header(command=byte)) == (None if byte in (LOCAL, PROXY) else 13)


@settings(deadline=None)
@given(st.integers(0, 255))
def test_another_family_or_transport_is_refused_at_once(byte):
    data = header(byte, bytes(SIZES.get(byte, 0)))
    assert refused_at(data) == (None if byte in SIZES else 14)


@pytest.mark.parametrize("family", [0x11, 0x12, 0x21, 0x22, 0x31, 0x32])
def test_a_block_too_short_for_its_addresses_is_refused_when_its_length_is_known(family):
    assert refused_at(header(family, bytes(SIZES[family]))) is None
    assert refused_at(header(family, bytes(SIZES[family] - 1))) == 16


@pytest.mark.limit("http.PROXY_BYTES_MAX")
def test_a_header_over_the_most_is_refused_before_it_arrives():
    room = PROXY_BYTES_MAX - 16 - len(TCP4) - 3
    most = header(block=TCP4 + vector(NOOP, bytes(room)))
    assert parse(most) == Proxied(PROXY_BYTES_MAX, CLIENT, SERVER)
    assert refused_at(header(block=TCP4 + vector(NOOP, bytes(room + 1)))) == 16
    assert refused_at(SIGNATURE + bytes((LOCAL, 0, 0xFF, 0xFF))) == 15, (
        "no length from here is less"
    )


@pytest.mark.parametrize(
    ("tail", "place"),
    [
        (b"\x04", 0),
        (b"\x04\x00", 0),
        (b"\x04\x00\x01", 3),
        (b"\x04\x01\x00", 2),
        (vector(NOOP, b"abc") + b"\x04", 3),
        (vector(NOOP, b"abc") + b"\x04\x00\x09abc", 9),
    ],
)
def test_a_tlv_that_does_not_fit_is_refused_when_its_length_is_known(tail, place):
    assert refused_at(header(block=TCP4 + tail)) == 16 + (12 + place if place else 0)


@pytest.mark.limit("http.TLVS_MAX")
def test_a_header_of_too_many_tlvs_is_refused_at_the_first_too_many():
    most = header(block=TCP4 + vector(NOOP, b"") * TLVS_MAX)
    assert parse(most) == Proxied(len(most), CLIENT, SERVER)
    place = 16 + 12 + 3 * TLVS_MAX
    assert refused_at(header(block=TCP4 + vector(NOOP, b"") * (TLVS_MAX + 1))) == place


@given(vectors, vectors)
def test_a_checksum_that_is_right_is_taken(before, after):
    data = with_crc(0x11, TCP4, before=joined(before), after=joined(after))
    assert parse(data) == Proxied(len(data), CLIENT, SERVER)


@given(st.data(), vectors)
def test_a_header_with_a_bit_flipped_is_refused_by_its_checksum(data, after):
    whole = bytearray(with_crc(0x11, TCP4, after=joined(after)))
    at = data.draw(st.integers(16, 27) | st.integers(31, 34))  # an address, or the checksum
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ProxyHeaderWrong, match="CRC32C"):
        parse(bytes(whole))
    assert parse(bytes(whole[:-1])) is None


@pytest.mark.parametrize("tail", [vector(CRC32C, b"abc"), vector(CRC32C, b"abcde")])
def test_a_checksum_that_has_not_4_bytes_is_refused(tail):
    with pytest.raises(ProxyHeaderWrong, match="not 4 bytes"):
        parse(header(block=TCP4 + tail))


def test_a_second_checksum_is_refused_at_its_type():
    data = with_crc(0x11, TCP4, after=vector(CRC32C, bytes(4)))
    assert refused_at(data) == 16 + 12 + 7 + 1


def test_version_1_is_refused_by_name():
    with pytest.raises(
        ProxyHeaderWrong, match=r"version 1 \(text\); version 2 \(binary\) is taken"
    ):
        parse(b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n")
    with pytest.raises(Invalid, match=r"begins b'GET / HTTP/1'"):
        parse(b"GET / HTTP/1.1\r\n")


@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_read_taken_or_refused(data, signed):
    data = SIGNATURE + bytes((PROXY,)) + data if signed else data
    try:
        found = parse(data)
    except ProxyHeaderWrong:
        return
    assert found is None or found.consumed <= len(data)


@settings(deadline=None)
@given(headers(), st.data())
def test_what_was_refused_once_stays_refused_with_every_byte_that_follows(data, draw):
    at = draw.draw(st.integers(0, len(data) - 1))
    changed = data[:at] + draw.draw(st.binary(min_size=1, max_size=1)) + data[at + 1 :]
    length = refused_at(changed)
    if length is not None:
        assert length > at
        for longer in (changed[: length + 1], changed, changed + b"more"):
            with pytest.raises(ProxyHeaderWrong):
                parse(longer)
