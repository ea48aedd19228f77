"""What a request may say: nothing of a caller's can become a header or a request of its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.parts.http.client import asking
from bastide.parts.http.client.addresses import checked, parsed
from bastide.parts.http.client.asking import TOGETHER_BYTES_MAX
from bastide.parts.http.client.contract import ClientOptions, RequestWrong


def asked(method="GET", url="http://h/", headers=(), body=None, idempotent=None, continue_s=None):
    return asking.asked(method, url, headers, body, idempotent=idempotent, continue_s=continue_s)


async def pieces():
    yield b""


def test_a_request_is_its_line_host_the_headers_as_given_and_the_length():
    headers = ((b"Accept", b"a, b"), (b"traceparent", b"00-1-2-01"), (b"x", b""), (b"x", b"\xff\t"))
    assert asked("POST", "http://shop:8080/a?b=c#d", headers, b"body").head == (
        b"POST /a?b=c HTTP/1.1\r\nhost: shop:8080\r\nAccept: a, b\r\ntraceparent: 00-1-2-01\r\n"
        b"x: \r\nx: \xff\t\r\ncontent-length: 4\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("method", "body", "line"),
    [
        ("GET", None, b""),
        ("DELETE", None, b""),
        ("POST", None, b"content-length: 0\r\n"),
        ("PUT", b"", b"content-length: 0\r\n"),
        ("GET", b"x", b"content-length: 1\r\n"),
        ("POST", pieces(), b"transfer-encoding: chunked\r\n"),
    ],
)
def test_a_body_is_framed_and_none_is_said_to_be_none_where_one_is_expected(method, body, line):
    """RFC 9110, 8.6."""
    head = asked(method, "http://h/", (), body).head
    assert head == b"%b / HTTP/1.1\r\nhost: h\r\n%b\r\n" % (method.encode(), line)


def test_an_iterator_of_known_length_is_sent_without_chunks():
    found = asked("PUT", headers=[(b"Content-Length", b"12")], body=pieces())
    assert found.length == 12
    assert b"transfer-encoding" not in found.head


def test_a_small_body_goes_with_its_head_and_a_byte_more_does_not():
    assert asked("POST", body=bytes(TOGETHER_BYTES_MAX)).pieces is None
    assert asked("POST", body=bytes(TOGETHER_BYTES_MAX + 1)).body == b""


def test_to_be_asked_for_the_body_is_said():
    assert asked("PUT", body=b"x", continue_s=1).head.endswith(b"\r\nexpect: 100-continue\r\n\r\n")
    assert b"expect" not in asked("PUT", body=b"", continue_s=1).head


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_what_is_idempotent_may_be_repeated(method):
    """RFC 9110, 9.2.2."""
    assert asked(method).may_be_repeated
    assert asked(method, body=bytes(1 << 20)).may_be_repeated
    assert not asked(method, body=pieces()).may_be_repeated, "its body can be had only once"
    assert not asked(method, idempotent=False).may_be_repeated
    assert not asked("POST").may_be_repeated
    assert asked("POST", idempotent=True).may_be_repeated


@pytest.mark.parametrize(
    "method",
    ["", "G ET", "GET\r\n", "GET /x HTTP/1.1\r\nhost: y\r\n\r\nGET", "GÉT", "CONNECT", "G:"],
)
def test_a_method_that_is_no_token_is_refused(method):
    with pytest.raises(RequestWrong):
        asked(method)


def test_a_method_may_have_64_characters_and_not_one_more():
    assert asked("M" * 64).method == "M" * 64
    with pytest.raises(RequestWrong):
        asked("M" * 65)


@pytest.mark.parametrize(
    "url",
    [
        *("", "/a", "h", "//h/", "ftp://h/", "http:/h", "http://", "http:///a", "http://?a"),
        *("http://h/a b", "http://h/\r\nx: y", "http://h/a\n", "\thttp://h/", "http://h/\0", "http://h/é"),
        *("http://h\r\n/", "http://bücher/", "http://u@h/", "http://u:p@h/", "http://h:0/", "http://h:65536/"),
        *("http://h:-1/", "http://h:x/", "http://h:/", "http://h:+80/", "http://h:\uff18/", "http://h%0a/"),
        *("http://[::1", "http://[::g]/", "http://[1.2.3.4]/", "http://[::1]x/", "http://::1/", "http://[]/"),
        *("http://[fe80::1%25lo]/", "http://a,b/", "http://h\\@g/"),
    ],
)  # fmt: skip
def test_a_url_that_two_readers_could_read_in_two_ways_is_refused(url):
    with pytest.raises(RequestWrong):
        asked(url=url)


@pytest.mark.parametrize(
    ("url", "origin", "authority", "target"),
    [
        ("http://h", "http://h", "h", "/"),
        ("HTTP://H:80/A", "http://h", "h", "/A"),
        ("https://h:443?a=/b#c", "https://h", "h", "/?a=/b"),
        ("https://h:80/#", "https://h:80", "h:80", "/"),
        ("http://[2001:DB8::1]:81/x", "http://[2001:db8::1]:81", "[2001:db8::1]:81", "/x"),
        ("http://127.0.0.1:65535//x", "http://127.0.0.1:65535", "127.0.0.1:65535", "//x"),
        ("http://h/a?b#c?d#e", "http://h", "h", "/a?b"),
    ],
)
def test_of_a_url_the_origin_and_the_target_are_sent(url, origin, authority, target):
    found, found_target = parsed(url)
    assert (found.name, found.authority, found_target) == (origin, authority, target)
    assert b"\r\nhost: %b\r\n" % authority.encode() in asked(url=url).head


@pytest.mark.parametrize(
    "header",
    [
        *((b"", b"x"), (b"a b", b"x"), (b"a:", b"x"), (b"a\r\nb", b"x"), (b"a\0", b"x")),
        *((b"\xe9", b"x"), (b"a\n", b"x")),
        *((b"a", b"x\r\nb: y"), (b"a", b"x\n"), (b"a", b"x\r"), (b"a", b"\0"), (b"a", b"\x7f")),
        *((b"Connection", b"close"), (b"transfer-encoding", b"chunked"), (b"UPGRADE", b"h2c")),
        *((b"te", b"trailers"), (b"expect", b"100-continue"), (b"keep-alive", b"1")),
        *((b"proxy-connection", b"x"), (b"trailer", b"x")),
        *((b"content-length", b"4"), (b"content-length", b"+3"), (b"content-length", b"3, 3")),
    ],
)  # fmt: skip
def test_a_header_that_would_be_another_or_is_of_the_connection_is_refused(header):
    with pytest.raises(RequestWrong):
        asked("POST", "http://h/", [(b"accept", b"x"), header, (b"z", b"y")], b"abc")


@pytest.mark.parametrize("name", [b"host", b"content-length"])
def test_what_must_be_once_is_refused_twice(name):
    with pytest.raises(RequestWrong, match="once"):
        asked("POST", "http://h/", [(name, b"3"), (name.upper(), b"3")], b"abc")


def test_a_length_is_refused_without_a_body():
    with pytest.raises(RequestWrong):
        asked("GET", headers=[(b"content-length", b"3")])


def test_another_host_may_be_named_as_a_gateway_does():
    head = asked(headers=[(b"Host", b"public.example")]).head
    assert head == b"GET / HTTP/1.1\r\nHost: public.example\r\n\r\n"


texts = st.text(max_size=20)
some_bytes = st.binary(max_size=20) | texts.map(str.encode)


@given(texts, texts, st.lists(st.tuples(some_bytes, some_bytes), max_size=4), some_bytes)
def test_whatever_is_asked_for_is_refused_or_is_one_request_of_so_many_lines(
    method, path, headers, body
):
    try:
        found = asked(method, f"http://h/{path}", headers, body)
    except RequestWrong:
        return
    head, _, behind = found.head.partition(b"\r\n\r\n")
    assert not behind
    lines = head.split(b"\r\n")
    assert head.count(b"\n") == head.count(b"\r") == len(lines) - 1
    names = [line.partition(b":")[0].lower() for line in lines[1:]]
    given_names = [name.lower() for name, _ in headers]
    added = {b"host", b"content-length"} - set(given_names)
    assert sorted(names) == sorted([*given_names, *added])


@pytest.mark.parametrize(
    "given",
    [
        ClientOptions(endpoints={"http://h:80": ["h:1"]}),
        ClientOptions(endpoints={"http://h/": ["h:1"], "http://h/a": []}),
        ClientOptions(endpoints={"http://h": []}),
        ClientOptions(endpoints={"http://h": ["h:1", "h:1"]}),
        ClientOptions(endpoints={"http://h": ["h"]}),
        ClientOptions(endpoints={"http://h": ["unix:relative"]}),
        ClientOptions(via="http://h"),
        ClientOptions(via="unix:/a\0b"),
    ],
)
def test_endpoints_that_can_not_be_read_are_refused(given):
    with pytest.raises(RequestWrong):
        checked(given)
