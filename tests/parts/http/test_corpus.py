"""The corpus against our server: every malformed, ambiguous or abusive request is refused or
answered as its case says, and nothing of what is refused comes to a handler.
"""

import asyncio
import gc
from collections import Counter

import pytest

from tests.parts.http.cases import CASES
from tests.parts.http.corpus import Case, Fate, Group, get, request
from tests.parts.http.corpus_kit import CorpusServer, corpus_server
from tests.parts.http.play import Malformed, Outcome, judge, play, read_responses

CASES_MIN = 520
TOGETHER = 32  # beside the slow ones, which wait for the clock and hardly work

_GROUP = Group("afterwards", "RFC 9112 3")
_GROUP.answered("good", get())
[AFTERWARDS] = _GROUP.cases


class Played:
    """What became of each case, what the handlers saw, what the server logged."""

    def __init__(self, outcomes, seen, errors, afterwards) -> None:
        self.outcomes = outcomes
        self.seen = seen
        self.errors = errors
        self.afterwards = afterwards  # a request that is played when all else is over


@pytest.fixture(scope="module")
def played() -> Played:
    return asyncio.run(_play_all())


async def _play_all() -> Played:
    async with corpus_server() as server:
        outcomes = await _outcomes(server)
        afterwards = await _play(AFTERWARDS, server)
        gc.collect()  # tasks and coroutines that were forgotten say so when they are freed
        return Played(outcomes, server.seen(), list(server.errors), afterwards)


async def _outcomes(server: CorpusServer) -> dict[str, Outcome]:
    room = asyncio.Semaphore(TOGETHER)

    async def one(case: Case) -> Outcome:
        if case.slow:
            return await _play(case, server)
        async with room:
            return await _play(case, server)

    found = await asyncio.gather(*map(one, CASES))
    return {case.id: outcome for case, outcome in zip(CASES, found, strict=True)}


async def _play(case: Case, server: CorpusServer) -> Outcome:
    return await play(case, server.host, server.port)


def _case(id_: str) -> Case:
    return next(case for case in CASES if case.id == id_)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_case_of_the_corpus_ends_as_it_should(case, played):
    faults = judge(case, played.outcomes[case.id], played.seen.get(case.id, {}))
    assert not faults, "\n".join([*faults, f"sent was {case.sent[:600]!r}"])


def test_nothing_behind_a_refused_request_reaches_a_handler(played):
    smuggled = [path for paths in played.seen.values() for path in paths if "smuggled" in path]
    assert not smuggled


def test_the_server_logs_no_error_at_whatever_clients_send(played):
    assert not played.errors


def test_the_server_answers_as_before_when_all_cases_are_over(played):
    assert played.afterwards.statuses == [200, 200]


def test_the_corpus_has_cases_enough_and_none_of_them_twice():
    assert len(CASES) >= CASES_MIN
    assert not [id_ for id_, count in Counter(case.id for case in CASES).items() if count > 1]
    assert not [shape for shape, count in Counter(c.shape for c in CASES).items() if count > 1]


def test_each_refused_case_ends_with_a_request_that_must_not_be_answered():
    refused = [c for c in CASES if c.fate in (Fate.REFUSED, Fate.DROPPED) and not c.slow]
    without = [case.id for case in refused if f"/smuggled/{case.id}".encode() not in case.sent]
    early = [id_ for id_ in without if id_.startswith("early.")]
    assert early == without


def test_every_group_names_a_section_of_an_rfc_in_each_of_its_cases():
    assert not [case.id for case in CASES if not case.rfc.startswith("RFC ")]


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 99 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
        b"<html>",
    ],
)
def test_a_reply_that_is_not_whole_or_not_clear_is_no_reply(data):
    with pytest.raises(Malformed):
        read_responses(data)


def test_replies_are_told_apart():
    data = (
        b"HTTP/1.1 100 Continue\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n"
        b"HTTP/1.1 204 No Content\r\n\r\n"
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nno"
    )
    interims, responses = read_responses(data)
    assert interims == [100]
    assert [(r.status, r.body) for r in responses] == [
        (200, b"abc"),
        (200, b"de"),
        (204, b""),
        (400, b"no"),
    ]


def test_the_reply_to_a_head_has_no_body():
    _, responses = read_responses(
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" * 1, first_is_head=True
    )
    assert [(r.status, r.body) for r in responses] == [(200, b"")]


def test_a_smuggled_request_that_is_answered_is_a_fault():
    case = _case("both.cl-te-equal")
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    _, responses = read_responses(head * 2)
    faults = judge(case, Outcome(responses, [], True, 0.0), {f"/smuggled/{case.id}": 1})
    assert len(faults) == 3
    assert request(f"/smuggled/{case.id}".encode()).split(b"\r\n")[0] in case.sent
