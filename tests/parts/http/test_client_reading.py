"""Answers, read from bytes alone: the same however they are cut, and nothing that is ambiguous."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.parts.http.client.contract import AnswerTooLarge, AnswerWrong
from bastide.parts.http.client.reading import Reader
from tests.parts.http.client_kit import answer, chunked

HEAD_MAX = 1 << 16
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def read(*parts, method="GET", ends=False, head_bytes_max=HEAD_MAX):
    reader = Reader(method, head_bytes_max=head_bytes_max)
    for part in parts:
        reader.feed(part)
    if ends:
        reader.end()
    return reader


def seen(reader):
    head = reader.head
    shown = (head.status, head.headers) if head else None
    return shown, reader.is_whole, reader.keeps, reader.goes_on, b"".join(reader.pieces)


def cut(data, places):
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in pairwise(edges)]


GOOD = [
    ("GET", answer(b"hello"), b"hello"),
    ("GET", answer(), b""),
    ("GET", answer(b"x" * 300, status=404), b"x" * 300),
    ("GET", CHUNKED + chunked(b"ab", b"\r\n0\r\n\r\n"), b"ab\r\n0\r\n\r\n"),
    ("GET", CHUNKED + b'2;a=b;c="d"\r\nhi\r\n000\r\nx-sum: 5\r\ny: 6\r\n\r\n', b"hi"),
    ("GET", CHUNKED.replace(b"chu", b"Chu") + b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", b""),
    ("HEAD", CHUNKED, b""),
    ("HEAD", b"HTTP/1.1 200 OK\r\n\r\n", b""),
    ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 1000\r\n\r\n", b""),
    ("GET", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 3 + answer(b"hi"), b"hi"),
    ("PUT", b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"hi", status=201), b"hi"),
    ("GET", answer(b"1", headers=[b"connection: upgrade\r\nupgrade: h2c\r\n"]), b"1"),
]


@pytest.mark.parametrize(("method", "data", "body"), GOOD)
def test_an_answer_that_ends_where_its_head_says_keeps_its_connection(method, data, body):
    reader = read(data, method=method)
    assert reader.is_whole
    assert reader.keeps
    assert b"".join(reader.pieces) == body


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(GOOD),
    st.sampled_from([b"", b"\r\n", b"H", b"HTTP/1.1 200 OK\r\n\r\n", b"\0", b"0\r\n\r\n"]),
    st.lists(st.integers(0, 10_000), max_size=40),
)
def test_however_the_bytes_are_cut_the_same_is_read(good, behind, places):
    method, data, body = good
    together = read(data + behind, method=method)
    in_parts = read(*cut(data + behind, places), method=method)
    assert seen(in_parts) == seen(together)
    assert b"".join(together.pieces) == body
    assert together.keeps == (not behind), "not a byte may be behind an answer"


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.builds(
            lambda good, places: b"".join(cut(good[1], places)[:-1]),
            st.sampled_from(GOOD),
            st.lists(st.integers(0, 400), min_size=1, max_size=3),
        ),
        st.builds(lambda rest: b"HTTP/1.1 200 OK\r\n" + rest, st.binary(max_size=300)),
        st.builds(lambda rest: CHUNKED + rest, st.binary(max_size=300)),
    ),
    st.lists(st.integers(0, 500), max_size=10),
)
def test_garbage_is_refused_or_unfinished_and_nothing_else_is_raised(data, places):
    reader = Reader("GET", head_bytes_max=HEAD_MAX)
    try:
        for part in cut(data, places):
            reader.feed(part)
    except AnswerWrong:
        assert not reader.is_whole


WRONG = {
    "both a length and chunks": b"content-length: 5\r\ntransfer-encoding: chunked\r\n",
    "both, the other way round": b"transfer-encoding: chunked\r\ncontent-length: 5\r\n",
    "two lengths": b"content-length: 5\r\ncontent-length: 6\r\n",
    "one length twice": b"content-length: 5\r\ncontent-length: 5\r\n",
    "a list of lengths": b"content-length: 5, 5\r\n",
    "a signed length": b"content-length: +5\r\n",
    "a negative length": b"content-length: -5\r\n",
    "a hexadecimal length": b"content-length: 0x5\r\n",
    "an empty length": b"content-length: \r\n",
    "a length over 64 bits": b"content-length: 18446744073709551621\r\n",
    "a length over 18 digits": b"content-length: 0000000000000000005\r\n",
    "another coding": b"transfer-encoding: gzip\r\n",
    "another coding before chunked": b"transfer-encoding: gzip, chunked\r\n",
    "chunked before another": b"transfer-encoding: chunked, gzip\r\n",
    "chunked twice": b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
    "identity": b"transfer-encoding: identity\r\n",
    "a coding like chunked": b"transfer-encoding: xchunked\r\n",
    "a space before the colon": b"content-length : 5\r\n",
    "a folded line": b"a: b\r\n c\r\n",
    "a bare LF": b"a: b\nc: d\r\n",
    "a bare CR": b"a: b\rc: d\r\n",
    "a NUL": b"a: b\0\r\n",
    "no colon": b"content-length 5\r\n",
    "an empty name": b": 5\r\n",
    "a name with a space": b"a b: 5\r\n",
}


@pytest.mark.parametrize("lines", WRONG.values(), ids=WRONG.keys())
def test_a_head_that_can_be_read_in_two_ways_is_refused(lines):
    """RFC 9112, 6.3 and 11.1: a response splits in two where its readers differ."""
    with pytest.raises(AnswerWrong):
        read(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\nhello")


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
        b"HTTP/1.1 200 OK\r\n\n",
        b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/0.9 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 99 Low\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 1000 High\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n\r\n\r\n",
        b"RTSP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"<html>",
        b"\x16\x03\x01",
    ],
)
def test_what_is_no_http_1_is_refused(data):
    with pytest.raises(AnswerWrong):
        read(data)


@pytest.mark.parametrize(
    "data",
    [
        b"x\r\n",
        b"-1\r\n",
        b"+1\r\na\r\n",
        b"0x1\r\na\r\n",
        b" 1\r\na\r\n",
        b"1 \r\na\r\n",
        b"1\na\r\n",
        b"1\r\nab\r\n",
        b"1\r\na\n0\r\n\r\n",
        b"\r\n",
        b"ffffffffffffffff1\r\n",
        b"1;\0\r\na\r\n",
        b"0\r\na b: c\r\n\r\n",
        b"0\r\nx\r\n\r\n",
        b"0\r\ncontent-length: 5\r\n\r\n",
    ],
)
def test_a_bad_chunk_is_refused(data):
    with pytest.raises(AnswerWrong):
        read(CHUNKED, data)


def test_what_is_in_the_trailer_is_no_header():
    """RFC 9110, 6.5.1: "a recipient MUST NOT merge" trailers it does not know the meaning of."""
    reader = read(CHUNKED + b"1\r\na\r\n0\r\nset-cookie: a=b\r\n\r\n")
    assert reader.head.headers == [(b"transfer-encoding", b"chunked")]


def test_without_a_length_the_end_of_the_connection_is_the_end_of_the_body():
    reader = read(b"HTTP/1.1 200 OK\r\n\r\nhello")
    assert not reader.is_whole
    reader.end()
    assert reader.is_whole
    assert not reader.keeps


@pytest.mark.parametrize(
    "data", [answer(b"hello")[:-1], CHUNKED + b"5\r\nhello\r\n0\r\n", b"HTTP/1.1"]
)
def test_with_one_it_is_not(data):
    assert not read(data, ends=True).is_whole


@pytest.mark.parametrize(
    "lines",
    [
        b"connection: close\r\n",
        b"Connection: foo, Close\r\n",
        b"connection: x\r\nconnection: close\r\n",
    ],
)
def test_a_connection_that_will_be_closed_is_not_kept(lines):
    reader = read(answer(b"hello", headers=[lines]))
    assert reader.is_whole
    assert not reader.keeps


def test_a_connection_of_http_1_0_is_not_kept():
    keeps = answer(b"hello", headers=[b"connection: keep-alive\r\n"])
    assert read(keeps).keeps
    reader = read(keeps.replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert reader.is_whole
    assert not reader.keeps


def test_a_head_may_have_so_many_bytes_and_not_one_more():
    fits = b"HTTP/1.1 204 No\r\na: " + b"b" * 100 + b"\r\n\r\n"
    for parts in ([fits], cut(fits, range(0, 200, 7))):
        assert read(*parts, head_bytes_max=len(fits)).is_whole
        with pytest.raises(AnswerTooLarge, match=f"over {len(fits) - 1} bytes"):
            read(*parts, head_bytes_max=len(fits) - 1)


def test_a_body_behind_a_small_head_does_not_count_as_head():
    assert read(answer(b"x" * 100_000), head_bytes_max=200).is_whole


def test_interim_answers_without_end_are_a_head_that_is_too_large():
    with pytest.raises(AnswerTooLarge):
        read(b"HTTP/1.1 102 Processing\r\n\r\n" * 10_000)


@pytest.mark.parametrize("endless", [b"1;" + b"x" * 99_999, b"0\r\na: " + b"x" * 99_999])
def test_chunks_that_carry_nothing_without_end_are_refused(endless):
    data = CHUNKED + b"1\r\na\r\n" + endless
    with pytest.raises(AnswerTooLarge):
        read(*(data[n : n + 100] for n in range(0, len(data), 100)))
