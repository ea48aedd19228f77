"""On a server: several processes, clients that are not ours, outages."""

import asyncio
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bastide.base.errors import Invalid
from bastide.base.rt import runtime
from bastide.base.settings import parse_url
from bastide.engines.pubsub.backends.redis import BEAT_S, open_redis
from bastide.engines.pubsub.contract import CHANNEL_BYTES_MAX, MESSAGE_BYTES_MAX, PubSubAway
from bastide.engines.pubsub.service import opened
from tests.engines.pubsub.conftest import Places
from tests.engines.pubsub.kit import (
    PATIENCE_S,
    hear,
    hear_all,
    numbered,
    publish,
    published_again,
)
from tests.parts.redis.kit import Redis, running

pytestmark = pytest.mark.engine("redis")

CRIER = Path(__file__).with_name("crier.py")
CRIES = 400
TIMEOUT_S = 0.25  # the default of timeout_s
SLACK_S = 0.5  # a shared machine


@pytest.fixture
async def pair(shared):
    async with shared.open() as one, shared.open() as other:
        yield one, other


@pytest.fixture
async def foreign(shared):
    """redis-py."""
    redis = pytest.importorskip("redis.asyncio", reason="redis-py is a client that is not ours")
    async with redis.Redis.from_url(shared.url) as client:
        yield client


@asynccontextmanager
async def crying(places, name, count):
    words = (sys.executable, CRIER, places.url, places.client, name, str(count))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe)
    try:
        async with asyncio.timeout(PATIENCE_S):
            assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def lines(process, count):
    async with asyncio.timeout(4 * PATIENCE_S):
        return [(await process.stdout.readline()).strip() for _ in range(count)]


@pytest.mark.box("pubsub.processes")
@pytest.mark.box("pubsub.order")
async def test_two_processes_that_both_publish_hear_all_in_one_order(shared):
    async with crying(shared, "a", CRIES) as a, crying(shared, "b", CRIES) as b:
        a.stdin.write(b"\n")
        b.stdin.write(b"\n")
        heard, also_heard = await asyncio.gather(lines(a, 2 * CRIES), lines(b, 2 * CRIES))
    assert heard == also_heard
    for name in ("a", "b"):
        cried = [value for value in heard if value.startswith(name.encode())]
        assert cried == numbered(CRIES, before=f"{name}:")


@pytest.mark.box("pubsub.processes")
async def test_a_process_that_is_killed_takes_nobody_with_it(shared):
    async with (
        shared.open() as pubsub,
        pubsub.subscribe("cry:*") as messages,
        crying(shared, "a", 1_000_000) as a,
        crying(shared, "b", CRIES) as b,
    ):
        a.stdin.write(b"\n")
        assert await hear(messages, 50) == numbered(50, before="a:")
        a.kill()
        await a.wait()
        b.stdin.write(b"\n")
        found = []
        while found[-1:] != [f"b:{CRIES - 1}".encode()]:
            found += await hear(messages)
        *rest, _ = found
        assert [v for v in rest if v.startswith(b"b")] == numbered(CRIES - 1, before="b:")
        of_a = [v for v in rest if v.startswith(b"a")]
        assert of_a == numbered(50 + len(of_a), before="a:")[50:]


@pytest.mark.box("pubsub.user-channels")
async def test_a_users_channel_is_heard_in_whichever_process_the_user_is(pair):
    one, other = pair
    async with one.subscribe("user:1") as first, other.subscribe("user:2") as second:
        await other.publish("user:1", b"to the first")
        await one.publish("user:2", b"to the second")
        assert await hear(first) == [b"to the first"]
        assert await hear(second) == [b"to the second"]


@pytest.mark.shows("pubsub.client")
@pytest.mark.box("pubsub.foreign-client")
async def test_a_client_that_is_not_ours_publishes_to_a_channel(shared, foreign):
    async with shared.open() as pubsub, pubsub.subscribe("user:*") as messages:
        await foreign.publish(shared.named("user:7"), b"from outside")
        assert await hear(messages) == [b"from outside"]


@pytest.mark.shows("pubsub.client")
@pytest.mark.box("pubsub.foreign-client")
async def test_a_client_that_is_not_ours_hears_a_channel(shared, foreign):
    async with shared.open() as pubsub, foreign.pubsub() as listening:
        await listening.psubscribe(shared.named("user:*"))
        assert (await listening.get_message(timeout=5))["type"] == "psubscribe"
        await pubsub.publish("user:7", b"to outside")
        message = await listening.get_message(timeout=5)
        assert message["channel"].decode() == shared.named("user:7")
        assert message["data"] == b"to outside"


async def test_from_outside_comes_only_what_could_be_published_inside(shared, foreign):
    dropped = runtime.current().metrics.counter(
        "bastide_pubsub_strange_total",
        "Messages from outside that publish would have refused, dropped.",
    )
    before = dropped.value
    longest = "a" * CHANNEL_BYTES_MAX
    async with shared.open() as pubsub, pubsub.subscribe("*") as messages:
        await foreign.publish(shared.named(""), b"no channel")
        await foreign.publish(shared.named("").encode() + b"\xff", b"no text")
        await foreign.publish(shared.named(longest + "a"), b"too long a channel")
        await foreign.publish(shared.named("a"), bytes(MESSAGE_BYTES_MAX + 1))
        await foreign.publish(shared.named(longest), bytes(MESSAGE_BYTES_MAX))
        message = await anext(messages)
        assert (message.channel, len(message.value)) == (longest, MESSAGE_BYTES_MAX)
    assert dropped.value == before + 4


async def test_databases_of_one_server_are_apart(shared):
    second = Places(shared.url.removesuffix("/0") + "/1")
    second.client = shared.client
    async with (
        shared.open() as zero,
        second.open() as one,
        zero.subscribe("*") as of_zero,
        one.subscribe("*") as of_one,
    ):
        await zero.publish("news", b"zero")
        await one.publish("news", b"one")
        assert await hear(of_zero) == [b"zero"]
        assert await hear(of_one) == [b"one"]


async def test_nobody_stays_subscribed_on_the_server(shared, foreign):
    async with shared.open() as pubsub:
        for pattern in ("news", "n*"):
            async with pubsub.subscribe(pattern), pubsub.subscribe(pattern):
                counts = await foreign.publish(shared.named("news"), b"")
                assert counts == 1, "one connection, however many listen there"
            await pubsub.health()  # comes behind what leaves
            assert await foreign.publish(shared.named("news"), b"") == 0


async def seconds(awaitable):
    began_s = time.monotonic()
    await awaitable
    return time.monotonic() - began_s


async def refused(awaitable):
    with pytest.raises(PubSubAway) as caught:
        await awaitable
    return caught.value


@pytest.mark.shows("pubsub.outage")
@pytest.mark.box("pubsub.outage")
@pytest.mark.box("pubsub.no-silent-gap")
async def test_a_server_that_is_killed_and_comes_back(own, redis):
    async with own.open() as pubsub:
        async with pubsub.subscribe("news") as named, pubsub.subscribe("n*") as matched:
            await publish(pubsub, "news", numbered(10))
            redis.stop()
            assert await hear_all(named) == numbered(10)
            assert await hear_all(matched) == numbered(10)
            assert await seconds(refused(pubsub.publish("news", b"lost"))) < TIMEOUT_S
            assert (await refused(pubsub.publish("news", b"lost"))).outcome == "none"
            await refused(pubsub.subscribe("news").__aenter__())
            await refused(pubsub.health())
            redis.start()
            await published_again(pubsub, "news", b"nobody hears it")
            await pubsub.health()
            await refused(anext(named))
            async with pubsub.subscribe("news") as again:
                await pubsub.publish("news", b"as before")
                assert await hear(again) == [b"as before"]
        async with pubsub.subscribe("n*") as again:
            await pubsub.publish("news", b"as before")
            assert await hear(again) == [b"as before"]


@pytest.mark.shows("pubsub.outage")
@pytest.mark.box("pubsub.outage")
async def test_a_server_that_stands_still_is_away_in_time_and_heals(own, redis):
    async with own.open() as pubsub, pubsub.subscribe("news") as messages:
        redis.pause()
        try:
            asked = refused(pubsub.publish("news", b"perhaps"))
            assert TIMEOUT_S <= await seconds(asked) < TIMEOUT_S + SLACK_S
            assert await hear_all(messages) == []
            assert await seconds(refused(pubsub.publish("news", b"no"))) < TIMEOUT_S
        finally:
            redis.resume()
        await published_again(pubsub, "news", b"back")


@pytest.mark.box("pubsub.no-silent-gap")
async def test_whoever_only_listens_is_told_that_the_server_stands_still(own, redis):
    async with own.open() as pubsub, pubsub.subscribe("news") as messages:
        redis.pause()
        try:
            assert await seconds(hear_all(messages)) < BEAT_S + TIMEOUT_S + SLACK_S
        finally:
            redis.resume()


async def test_a_publish_whose_answer_is_lost_is_of_unknown_outcome(own, redis):
    async with own.open() as pubsub:
        redis.pause()
        try:
            assert (await refused(pubsub.publish("news", b"perhaps"))).outcome == "unknown"
        finally:
            redis.resume()


@pytest.mark.box("pubsub.no-silent-gap")
async def test_a_connection_that_is_cut_ends_the_subscriptions_and_is_made_again(own, redis):
    async with own.open() as pubsub, pubsub.subscribe("news") as messages:
        await pubsub.publish("news", b"before")
        assert redis.say("CLIENT KILL TYPE pubsub") == ":1\r\n"
        assert await hear_all(messages) == [b"before"]
        await published_again(pubsub, "news", b"nobody hears it")
        async with pubsub.subscribe("news") as again:
            await pubsub.publish("news", b"after")
            assert await hear(again) == [b"after"]


@pytest.mark.box("pubsub.no-silent-gap")
async def test_a_process_that_is_too_slow_for_the_server_is_told(own, redis):
    """The loop is held while Redis is published to: it cuts whom it can't get rid of its bytes."""
    client = pytest.importorskip("redis", reason="redis-py is a client that is not ours")
    redis.say("CONFIG SET client-output-buffer-limit", '"pubsub 1mb 1mb 0"')
    values = [str(n).encode() * 300_000 for n in range(10)] * 3
    async with own.open() as pubsub, pubsub.subscribe("news") as messages:
        with client.Redis.from_url(own.url) as outside:
            for value in values:
                outside.publish(own.named("news"), value)
        heard = await hear_all(messages)
        assert len(heard) < len(values)
        assert heard == values[: len(heard)]


async def test_a_server_that_is_away_at_first_is_waited_for(tmp_path):
    redis = Redis(tmp_path / "redis")
    try:
        async with Places(redis.url).open(options="?connect_s=0.1") as pubsub:
            await refused(pubsub.publish("news", b"no"))
            await refused(pubsub.health())
            redis.start()
            await published_again(pubsub, "news", b"yes")
    finally:
        redis.stop()


async def test_a_user_who_may_use_no_channel_is_refused_and_not_well(redis):
    redis.say("ACL SETUSER mute on >word +@all ~* resetchannels")
    places = Places(redis.url.replace("redis://", "redis://mute:word@"))
    async with places.open() as pubsub:
        for refusal in (
            await refused(pubsub.health()),
            await refused(pubsub.publish("news", b"no")),
            await refused(pubsub.subscribe("news").__aenter__()),
        ):
            assert "NOPERM" in str(refusal)
            assert refusal.outcome == "none"


async def test_a_client_that_may_not_subscribe_disturbs_nobody(redis):
    """A subscription that is taken has one reply less than one that is refused."""
    places = Places(redis.url.replace("redis://", "redis://some:word@"))
    allowed = f"&{places.named('*')}"
    redis.say(f"ACL SETUSER some on >word +@all ~* resetchannels {allowed} &bastide:0:")
    async with (
        places.backend() as backend,
        opened(backend, places.client) as may,
        opened(backend, "another") as may_not,
        may.subscribe("*") as messages,
    ):
        for n in range(20):
            ended = await asyncio.gather(
                may_not.subscribe("news").__aenter__(),
                may_not.publish("news", b"no"),
                may.publish("news", str(n).encode()),
                may_not.publish("news", b"no"),
                return_exceptions=True,
            )
            assert [type(e) for e in ended] == [PubSubAway, PubSubAway, type(None), PubSubAway]
        assert await hear(messages, 20) == numbered(20)
        await may.health()


async def test_a_user_who_may_not_ask_is_not_let_in(redis):
    redis.say("ACL SETUSER bare on >word +@all -multi ~* allchannels")
    places = Places(redis.url.replace("redis://", "redis://bare:word@"))
    async with places.open(options="?connect_s=0.1") as pubsub:
        assert "'multi'" in str(await refused(pubsub.health()))
        await refused(pubsub.subscribe("news").__aenter__())


async def test_a_server_that_refuses_what_it_was_asked_for_is_left_and_met_again(tmp_path):
    with running(tmp_path / "redis", "--rename-command", "SUBSCRIBE", "") as redis:
        async with Places(redis.url).open() as pubsub, pubsub.subscribe("n*") as messages:
            error = await refused(pubsub.subscribe("news").__aenter__())
            assert "unknown command" in str(error)
            assert await hear_all(messages) == []
            await published_again(pubsub, "news", b"nobody hears it")
            async with pubsub.subscribe("n*") as again:
                await pubsub.publish("news", b"as before")
                assert await hear(again) == [b"as before"]


async def test_a_url_is_of_one_server():
    with pytest.raises(Invalid, match="one server is expected"):
        await open_redis(parse_url("redis://one,two:6379/0")).__aenter__()
