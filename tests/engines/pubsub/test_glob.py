"""Patterns, against Redis' own algorithm: written down here as it is in C, and in a real server."""

import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bastide.engines.pubsub.contract import CHANNEL_BYTES_MAX, ChannelRefused
from bastide.engines.pubsub.core.glob import Glob, check, is_literal
from tests.parts.redis.kit import shared_url

LETTERS = "aab-]^[\\*?:é\0"
patterns = st.text(LETTERS, min_size=1, max_size=14)
channels = st.text("aab-]^[\\*?:é\0", min_size=1, max_size=10)
ODD = [
    "[a-]",
    "[]a",
    "[^]",
    "[^",
    "[",
    "a\\",
    "[\\",
    "[\\]]",
    "[b-a]",
    "[a-\\]]",
    "**a",
    "*?",
    "[a-b",
]
TRIED = ["a", "b", "\\", "]", "]a", "a]", "-", "aa", "ab", "^"]


def stringmatchlen(p, s):
    """util.c of Redis 7.0, without `nocase` and without its shortcut for stars that failed."""
    while p and s:
        if p[0] == ord("*"):
            while p[1:2] == b"*":
                p = p[1:]
            return len(p) == 1 or any(stringmatchlen(p[1:], s[n:]) for n in range(len(s)))
        if p[0] == ord("["):
            p, matched = _set(p[1:], s[0])
            if not matched:
                return False
        elif p[0] != ord("?"):
            if p[0] == ord("\\") and len(p) >= 2:
                p = p[1:]
            if p[0] != s[0]:
                return False
        p, s = p[1:], s[1:]
        if not s:
            p = p.lstrip(b"*")
    return not p and not s


def _set(p, byte):
    """From behind the bracket to the byte that ends the set, and whether it has `byte`."""
    negated = p[:1] == b"^"
    p, matched = p[negated:], False
    while True:
        if len(p) >= 2 and p[0] == ord("\\"):
            p = p[1:]
            matched |= p[0] == byte
        elif p[:1] in (b"]", b""):
            return p, matched != negated
        elif len(p) >= 3 and p[1] == ord("-"):
            low, high = sorted((p[0], p[2]))
            p = p[2:]
            matched |= low <= byte <= high
        else:
            matched |= p[0] == byte
        p = p[1:]


def glob(pattern):
    try:
        return Glob(pattern)
    except ChannelRefused:
        assume(False)


@pytest.mark.box("pubsub.patterns")
@settings(max_examples=1000, deadline=None)
@given(pattern=patterns, channel=channels)
def test_a_pattern_matches_what_redis_algorithm_matches(pattern, channel):
    found = glob(pattern).matches(channel.encode())
    assert found == stringmatchlen(pattern.encode(), channel.encode())


@pytest.mark.parametrize("pattern", ODD)
@pytest.mark.parametrize("channel", TRIED)
def test_the_oddities_are_redis_own(pattern, channel):
    assert Glob(pattern).matches(channel.encode()) == stringmatchlen(
        pattern.encode(), channel.encode()
    )


@given(pattern=patterns, channel=channels)
def test_a_literal_matches_itself_alone(pattern, channel):
    if is_literal(pattern):
        assert Glob(pattern).matches(channel.encode()) == (pattern == channel)
        assert Glob(pattern).matches(pattern.encode())


@given(st.text("a*?[]^-é", min_size=1, max_size=14))
def test_what_is_checked_compiles_and_what_is_refused_does_not(pattern):
    try:
        check(pattern)
    except ChannelRefused:
        with pytest.raises(ChannelRefused):
            Glob(pattern)
    else:
        Glob(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "a*" * (CHANNEL_BYTES_MAX // 2 - 1) + "b",
        "*" + "a" * 255 + "*" + "a" * 250 + "b",
        "*" + "?" * 255 + "b*" + "?" * 250 + "b",
        "*a" * 255 + "[^a]",
    ],
)
def test_no_pattern_is_slow(pattern):
    """The first takes Redis' recursion, without its shortcut, longer than the universe is old."""
    compiled, channel = Glob(pattern), b"a" * CHANNEL_BYTES_MAX
    began_s = time.perf_counter()
    assert not compiled.matches(channel)
    assert time.perf_counter() - began_s < 0.05


@pytest.fixture(scope="module")
def server():
    redis = pytest.importorskip("redis", reason="redis-py is a client that we did not write")
    with redis.Redis.from_url(shared_url()) as client, client.pubsub() as pubsub:
        yield client, pubsub


def heard_by_server(server, pattern, tried):
    """How often each of the channels `tried` is heard by who listens to `pattern`."""
    client, pubsub = server
    pubsub.psubscribe(f"glob:{pattern}")
    assert pubsub.get_message(timeout=5)["type"] == "psubscribe"
    found = [client.publish(f"glob:{channel}", b"") for channel in tried]
    for _ in range(sum(found)):
        assert pubsub.get_message(timeout=5)["type"] == "pmessage"
    pubsub.punsubscribe()
    assert pubsub.get_message(timeout=5)["type"] == "punsubscribe"
    return found


@pytest.mark.engine("redis")
@pytest.mark.box("pubsub.patterns")
@settings(max_examples=300, deadline=None)
@given(pattern=patterns, tried=st.lists(channels, min_size=1, max_size=8))
def test_a_pattern_matches_what_a_server_matches(server, pattern, tried):
    compiled = glob(pattern)
    expected = [int(compiled.matches(channel.encode())) for channel in tried]
    assert heard_by_server(server, pattern, tried) == expected


@pytest.mark.engine("redis")
@pytest.mark.parametrize("pattern", ODD)
def test_a_server_takes_the_oddities_as_we_do(server, pattern):
    expected = [int(Glob(pattern).matches(channel.encode())) for channel in TRIED]
    assert heard_by_server(server, pattern, TRIED) == expected
