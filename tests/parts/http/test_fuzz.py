"""The fuzzer: what it sends can be sent again, and it sees what it is there to see."""

import asyncio

import msgspec
import pytest

from tests.parts.http.corpus import End, Seen
from tests.parts.http.corpus_kit import corpus_server
from tests.parts.http.play import Outcome, Response, play
from tools.http_fuzz import (
    BOUND_S,
    GROWTH_BYTES_MAX,
    Execution,
    Good,
    Watch,
    check,
    execution,
    shorter,
)

SEED, CONNECTIONS, TOGETHER = 20_260, 300, 16


def told(good, *, path=None, status=200):
    seen = Seen(method="GET", path=path or good.path, host="a.example", body=good.body)
    return Response(status, {}, msgspec.json.encode(seen))


def outcome(*responses, closed=True, malformed=""):
    return Outcome(responses, [], closed, 0.1, malformed)


GOOD = [Good(b"", "/tok7n0x", ""), Good(b"", "/tok7n1x", "abc")]
SENT = Execution(7, GOOD, b"", End.SHUT)
REPLIES = [told(good) for good in GOOD]


def test_an_execution_is_the_same_whenever_it_is_made():
    assert [execution(1, n) for n in range(50)] == [execution(1, n) for n in range(50)]
    assert execution(1, 7) != execution(2, 7)


def test_the_pieces_are_the_data():
    for number in range(200):
        sent = execution(SEED, number)
        assert b"".join(sent.pieces) == sent.data


def test_good_requests_that_are_answered_in_their_order_are_no_finding():
    assert check(SENT, outcome(*REPLIES)) is None
    assert check(SENT, outcome(*REPLIES, Response(400, {}, b""))) is None


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        ("hang", outcome(*REPLIES, closed=False)),
        ("order", outcome(REPLIES[0])),
        ("order", outcome(*reversed(REPLIES))),
        ("order", outcome(REPLIES[0], told(GOOD[1], status=400))),
        ("order", outcome(REPLIES[0], told(GOOD[1], path="/tok7n0x"))),
        ("leak", outcome(*REPLIES, Response(200, {}, b"/tok8n0x"))),
        ("leak", outcome(REPLIES[0], told(GOOD[1], path="/tok70n1x"))),
        ("reply", outcome(malformed="a head that does not end")),
    ],
)
def test_what_should_not_be_is_found(kind, seen):
    assert check(SENT, seen).kind == kind


def test_memory_that_grows_by_more_than_the_bound_is_found():
    watch = Watch(None)
    watch.held = [1, 1, 1, 1, 1, 1, GROWTH_BYTES_MAX + 1, GROWTH_BYTES_MAX + 1]
    assert watch.growth() is None
    watch.held[-2:] = [GROWTH_BYTES_MAX + 2] * 2
    assert watch.growth().kind == "memory"


async def test_what_is_found_is_made_as_short_as_still_shows_it():
    async def shows(sent):
        return b"\x00" in sent.tail and b"Host" in sent.tail

    tail = b"GET / HTTP/1.1\r\nHost: a.example\r\nX: \x00\r\n\r\n"
    found = await shorter(Execution(7, GOOD, tail, End.SHUT, (3, 9)), shows)
    assert found == Execution(7, [], b"Host\x00", End.SHUT)


async def test_connections_never_see_anothers_bytes_and_good_requests_are_answered():
    room = asyncio.Semaphore(TOGETHER)
    async with corpus_server() as server:

        async def one(number):
            sent = execution(SEED, number)
            async with room:
                return check(sent, await play(sent.case, server.host, server.port, bound_s=BOUND_S))

        found = await asyncio.gather(*(one(number) for number in range(1, CONNECTIONS + 1)))
        assert not [finding for finding in found if finding], f"seed {SEED}"
        assert not server.errors
