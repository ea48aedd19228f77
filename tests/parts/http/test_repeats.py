"""What comes again is taken as what it was: the short way and the long one never differ."""

import gc
from asyncio import AbstractEventLoop
from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.parts.http.contract import Limits
from bastide.parts.http.core.repeats import Repeat
from bastide.parts.http.server.reading import FIELD_BYTES_REMEMBERED, Reader
from bastide.parts.http.server.roles import Exchange
from bastide.parts.http.server.server import Server
from tests.parts.http.server_kit import http_of

HOST = b"Host: localhost\r\n"
PLAIN = HOST + b"\r\n"
SIZED = HOST + b"Content-Length: 3\r\nAccept: a\r\n\r\n"


def test_fields_that_say_no_length_have_no_body_and_nothing_behind() -> None:
    repeat = Repeat(PLAIN, sized=False)
    assert repeat.body_in(b"x" + PLAIN, 1) == b""
    assert repeat.body_in(b"x" + PLAIN + b"G", 1) is None
    assert repeat.body_in(b"x" + PLAIN[:-1], 1) is None
    assert repeat.body_in(PLAIN.replace(b"Host", b"host"), 0) is None


@pytest.mark.parametrize("length", [1, 3, 10, 1234])
def test_only_the_digits_of_the_length_may_differ(length: int) -> None:
    repeat = Repeat(SIZED, sized=True)
    body = b"b" * length
    data = SIZED.replace(b"3", b"%d" % length) + body
    assert repeat.body_in(data, 0) == body
    assert repeat.body_in(data + b"b", 0) is None, "something is behind it"
    assert repeat.body_in(data[:-1], 0) is None, "the body is not all here"
    assert repeat.body_in(data.replace(b"Accept: a", b"Accept: b"), 0) is None


@pytest.mark.parametrize("digits", [b"", b"0", b"03", b"+3", b"3 ", b"3, 3", b"0x3", b"1" * 19])
def test_what_is_no_plain_length_is_read_the_long_way(digits: bytes) -> None:
    data = SIZED.replace(b"3", digits) + b"abc"
    assert Repeat(SIZED, sized=True).body_in(data, 0) is None


def test_the_length_is_found_by_its_name_alone() -> None:
    fields = b"X-Content-Length: 3\r\nContent-Length:\t3\r\nX: 3\r\n\r\n"
    repeat = Repeat(fields, sized=True)
    assert repeat.body_in(fields.replace(b"\t3", b"\t4") + b"abcd", 0) == b"abcd"
    assert repeat.body_in(fields.replace(b"X: 3", b"X: 4") + b"abc", 0) is None
    with pytest.raises(ValueError, match="Content-Length"):
        Repeat(PLAIN, sized=True)


class Forgetful(Reader):
    """Reads every request the long way."""

    def _remember(self, exchange: Exchange, data: bytes) -> None:
        """Keeps nothing."""


class Wire:
    """A reader, and what came of it."""

    def __init__(self, *, forgetful: bool) -> None:
        server = Server(http_of(), Limits(body_bytes=64))
        self.calls: list[str] = []
        self.reader = (Forgetful if forgetful else Reader)(
            server,
            cast(AbstractEventLoop, None),  # nobody waits for a body here
            peer="127.0.0.1",
            port=80,
            pause=lambda: self.calls.append("pause"),
            resume=lambda: self.calls.append("resume"),
            proceed=lambda: self.calls.append("proceed"),
        )

    def feed(self, data: bytes) -> Sequence[object]:
        kept = self.reader.feed(data)
        seen: list[Any] = [kept, self.reader.begun, self.reader.ended, list(self.calls)]
        for exchange in self.reader.exchanges:
            body = exchange.incoming.at_once(1 << 20)
            error = exchange.error and (type(exchange.error), str(exchange.error))
            seen.append((exchange.method, exchange.target, exchange.version, exchange.closes))
            seen.append((error, body, exchange.upgrades))
            if exchange.error is None:
                head = exchange.head
                seen.append((dict(head.headers), head.origin, head.caller, head.credentials))
        if self.reader.body is None:
            self.reader.exchanges.clear()
        return seen


LINES = (
    *(b"GET / HTTP/1.1", b"GET /a?b=c HTTP/1.1", b"HEAD / HTTP/1.1", b"POST / HTTP/1.1"),
    *(
        b"GET / HTTP/1.0",
        b"GET http://localhost/ HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET  / HTTP/1.1",
    ),
    b"BREW / HTTP/1.1",
)
FIELDS = (
    *(HOST, HOST + b"Accept: a\r\n", HOST + b"Connection: close\r\n", b"Host: other\r\n", b""),
    *(HOST + b"Authorization: Bearer k\r\n", HOST + b"Transfer-Encoding: chunked\r\n"),
    *(HOST + b"Expect: 100-continue\r\n", HOST + b"X: a\r\n b\r\n", HOST + HOST),
    *(HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n", HOST + b"Content-Length: 0\r\n"),
)
BODIES = (b"", b"a", b"abc", b"0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"x" * 64, b"x" * 65)
requests = st.builds(
    lambda line, fields, body, sized: (
        b"%b\r\n%b%b\r\n%b"
        % (line, fields, b"Content-Length: %d\r\n" % len(body) if sized else b"", body)
    ),
    st.sampled_from(LINES),
    st.sampled_from(FIELDS),
    st.sampled_from(BODIES),
    st.booleans(),
)
repeated = st.lists(requests, min_size=1, max_size=3).flatmap(
    lambda few: st.lists(st.sampled_from(few), min_size=2, max_size=8)
)


@given(repeated, st.data())
def test_a_reader_with_a_memory_sees_what_one_without_sees(
    sent: list[bytes], data: st.DataObject
) -> None:
    """Whole requests, joined ones and torn ones, most of them more than once."""
    quick, slow = Wire(forgetful=False), Wire(forgetful=True)
    pieces = []
    for request in sent:
        cut = data.draw(st.sampled_from((0, 0, 0, 1, len(request) // 2, len(request) - 1)))
        pieces += [request[:cut], request[cut:]] if cut else [request]
        if len(pieces) > 1 and data.draw(st.booleans()) and data.draw(st.booleans()):
            pieces[-2:] = [pieces[-2] + pieces[-1]]
    for piece in pieces:
        assert quick.feed(piece) == slow.feed(piece)


def test_another_head_between_them_is_not_taken_for_the_first() -> None:
    """Two that came together change what the reader knows last, not what the bytes say."""
    wire = Wire(forgetful=False)
    ann = b"GET / HTTP/1.1\r\n" + HOST + b"Authorization: Bearer ann\r\n\r\n"
    bob = ann.replace(b"ann", b"bob")
    for sent, bearers in ((ann, ["ann"]), (bob + bob, ["bob", "bob"]), (ann, ["ann"])):
        wire.reader.feed(sent)
        assert [e.head.credentials.bearer for e in wire.reader.exchanges] == bearers
        wire.reader.exchanges.clear()


@pytest.mark.parametrize(("more", "kept"), [(0, 1), (1, 0)])
def test_what_is_kept_of_a_head_is_bounded(more: int, kept: int) -> None:
    wire = Wire(forgetful=False)
    fields = b"Host: h\r\nX: %b\r\n\r\n"
    length = FIELD_BYTES_REMEMBERED + more - len(fields % b"")
    wire.feed(b"GET / HTTP/1.1\r\n" + fields % (b"x" * length))
    held = [one for one in gc.get_referents(wire.reader) if isinstance(one, tuple)]
    assert sum(isinstance(one, Repeat) for pair in held for one in pair) == kept
