"""What every backend keeps."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bastide.engines.pubsub.contract import (
    CHANNEL_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    PENDING_BYTES_MAX,
    PENDING_MAX,
    SUBSCRIBERS_MAX,
    ChannelRefused,
    Message,
    MessageTooLarge,
    PubSubAway,
    SubscriberCut,
    TooManySubscribers,
)
from bastide.engines.pubsub.core.glob import check
from bastide.engines.pubsub.service import opened
from tests.engines.pubsub.kit import hear, hear_all, numbered, publish


@pytest.mark.box("pubsub.every-subscriber")
async def test_every_subscriber_hears_every_message_once(pubsub):
    async with AsyncExitStack() as stack:
        patterns = ["news", "news", "n*", "*", "n?ws"]
        everybody = [await stack.enter_async_context(pubsub.subscribe(p)) for p in patterns]
        await publish(pubsub, "news", numbered(20))
        for messages in everybody:
            assert await hear(messages, 20) == numbered(20)
        await pubsub.publish("news", b"the end")
        assert [await hear(messages) for messages in everybody] == [[b"the end"]] * 5


async def test_a_message_tells_its_channel_and_its_value_as_they_were(pubsub):
    async with pubsub.subscribe("*") as messages:
        for channel in ("a:b c\r\n", "ключ", "*", "[", "\0"):
            await pubsub.publish(channel, b"\0\r\n\xff")
            assert await anext(messages) == Message(channel, b"\0\r\n\xff")
        await pubsub.publish("empty", b"")
        assert await anext(messages) == Message("empty", b"")


@pytest.mark.box("pubsub.patterns")
@pytest.mark.parametrize(
    ("pattern", "heard", "unheard"),
    [
        ("user:7", ["user:7"], ["user:", "user:77", "a:user:7"]),
        ("user:*", ["user:", "user:7", "user:7:typing"], ["user", "a:user:7"]),
        ("user:*:typing", ["user:7:typing", "user::typing"], ["user:7", "user:typing"]),
        ("user:?", ["user:7"], ["user:", "user:77", "user:é"]),
        ("[a-c]1", ["a1", "c1"], ["d1", "1"]),
        ("[^a-c]1", ["d1"], ["a1", "1"]),
        (r"\*", ["*"], ["a"]),
        ("[*]", ["*"], ["a"]),
        ("a]", ["a]"], ["a"]),
    ],
)
async def test_a_pattern_means_what_it_means_in_redis(pubsub, pattern, heard, unheard):
    async with pubsub.subscribe(pattern) as messages:
        for channel in [*unheard, *heard]:
            await pubsub.publish(channel, channel.encode())
        assert await hear(messages, len(heard)) == [channel.encode() for channel in heard]


@pytest.mark.box("pubsub.strangers")
async def test_whoever_comes_later_hears_what_comes_later(pubsub):
    await pubsub.publish("news", b"nobody is there")
    async with pubsub.subscribe("news") as early:
        await pubsub.publish("news", b"one")
        async with pubsub.subscribe("news") as late:
            await pubsub.publish("news", b"two")
            assert await hear(late) == [b"two"]
        await pubsub.publish("news", b"three")
        assert await hear(early, 3) == [b"one", b"two", b"three"]


@pytest.mark.parametrize("pattern", ["news", "n*"])
async def test_whoever_leaves_and_comes_back_has_missed_what_was_between(pubsub, pattern):
    for n in range(3):
        async with pubsub.subscribe(pattern) as messages:
            await pubsub.publish("news", str(n).encode())
            assert await hear(messages) == [str(n).encode()]
        await pubsub.publish("news", b"between")


async def test_one_that_leaves_takes_nothing_from_another_on_the_same_channel(pubsub):
    async with pubsub.subscribe("news") as stays:
        async with pubsub.subscribe("news"):
            pass
        await pubsub.publish("news", b"one")
        assert await hear(stays) == [b"one"]


async def test_a_subscriber_that_is_cancelled_while_it_waits_is_gone(pubsub):
    async def listening():
        async with pubsub.subscribe("news") as messages:
            entered.set()
            await anext(messages)

    entered = asyncio.Event()
    task = asyncio.create_task(listening())
    await entered.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with pubsub.subscribe("news") as messages:
        await pubsub.publish("news", b"one")
        assert await hear(messages) == [b"one"]


@pytest.mark.box("pubsub.order")
async def test_one_publishers_messages_come_in_the_order_of_its_calls_on_all_channels(pubsub):
    async with pubsub.subscribe("*") as messages:
        for n, value in enumerate(numbered(300)):
            await pubsub.publish(f"channel:{n % 7}", value)
        assert await hear(messages, 300) == numbered(300)


@pytest.mark.box("pubsub.order")
async def test_all_subscribers_hear_many_publishers_in_one_order(pubsub):
    async with AsyncExitStack() as stack:
        patterns = ["news", "news", "n*"]
        everybody = [await stack.enter_async_context(pubsub.subscribe(p)) for p in patterns]
        crowd = [publish(pubsub, "news", numbered(30, before=f"{p}:")) for p in range(10)]
        await asyncio.gather(*crowd)
        first, *others = [await hear(messages, 300) for messages in everybody]
        assert others == [first, first]
        for p in range(10):
            of_one = [value for value in first if value.startswith(f"{p}:".encode())]
            assert of_one == numbered(30, before=f"{p}:")


@pytest.mark.box("pubsub.clients-apart")
async def test_clients_do_not_hear_each_other(places):
    async with (
        places.backend() as backend,
        opened(backend, places.client) as chat,
        opened(backend, f"{places.client}2") as mail,
        chat.subscribe("*") as of_chat,
        mail.subscribe("*") as of_mail,
    ):
        await chat.publish("news", b"chat")
        await mail.publish("news", b"mail")
        assert await hear(of_chat) == [b"chat"]
        assert await hear(of_mail) == [b"mail"]


@pytest.mark.box("pubsub.publisher-never-waits")
@pytest.mark.box("pubsub.slow-cut")
@pytest.mark.limit("pubsub.PENDING_MAX")
@pytest.mark.parametrize("pattern", ["news", "n*"])
async def test_a_slow_subscriber_is_cut_after_what_may_be_pending(pubsub, pattern):
    """All that is published is published; nobody but the slow one notices."""
    async with pubsub.subscribe(pattern) as slow, pubsub.subscribe(pattern) as quick:
        await publish(pubsub, "news", numbered(PENDING_MAX))
        assert await hear(quick, PENDING_MAX) == numbered(PENDING_MAX)
        async with pubsub.subscribe(pattern) as neighbour:
            await pubsub.publish("news", b"one too many")
            assert await hear(neighbour) == [b"one too many"]
        assert await hear(quick) == [b"one too many"]
        assert await hear_all(slow, SubscriberCut) == numbered(PENDING_MAX)
        with pytest.raises(SubscriberCut, match="more than 1000 messages"):
            await anext(slow)
    async with pubsub.subscribe(pattern) as again:
        await pubsub.publish("news", b"as new")
        assert await hear(again) == [b"as new"]


@pytest.mark.limit("pubsub.PENDING_MAX")
async def test_a_subscriber_that_is_behind_by_all_that_may_be_is_not_cut(pubsub):
    async with pubsub.subscribe("news") as messages:
        for _ in range(2):
            await publish(pubsub, "news", numbered(PENDING_MAX))
            assert await hear(messages, PENDING_MAX) == numbered(PENDING_MAX)


@pytest.mark.box("pubsub.slow-cut")
@pytest.mark.limit("pubsub.PENDING_BYTES_MAX")
@pytest.mark.parametrize("more", [0, 1])
async def test_bytes_cut_as_messages_do(pubsub, more):
    count = PENDING_BYTES_MAX // MESSAGE_BYTES_MAX
    async with pubsub.subscribe("news") as messages:
        await publish(pubsub, "news", [bytes(MESSAGE_BYTES_MAX)] * count)
        await publish(pubsub, "news", [b"1"] * more)
        async with pubsub.subscribe("end") as end:
            await pubsub.publish("end", b"")
            await hear(end)
        assert len(await hear(messages, count)) == count
        if more:
            with pytest.raises(SubscriberCut):
                await anext(messages)
        else:
            await pubsub.publish("news", b"1")
            assert await hear(messages) == [b"1"]


async def test_a_publisher_that_never_pauses_lets_those_hear_who_only_take(pubsub):
    """Four times what may be pending, in one go."""

    async def listening():
        async with pubsub.subscribe("news") as messages:
            entered.set()
            return await hear(messages, 4 * PENDING_MAX)

    entered = asyncio.Event()
    task = asyncio.create_task(listening())
    await entered.wait()
    await publish(pubsub, "news", numbered(4 * PENDING_MAX))
    assert await task == numbered(4 * PENDING_MAX)


@pytest.mark.limit("pubsub.CHANNEL_BYTES_MAX")
@pytest.mark.parametrize("letter", ["a", "é"])
async def test_a_channel_and_a_pattern_are_as_long_as_they_may_be_in_bytes(pubsub, letter):
    longest = letter * (CHANNEL_BYTES_MAX // len(letter.encode()))
    async with pubsub.subscribe(longest) as named, pubsub.subscribe(f"{longest[:-1]}*") as matched:
        await pubsub.publish(longest, b"heard")
        assert (await anext(named)).channel == (await anext(matched)).channel == longest
    with pytest.raises(ChannelRefused, match="513 bytes; 1 to 512"):
        await pubsub.publish(longest + "a", b"")
    with pytest.raises(ChannelRefused, match="513 bytes; 1 to 512"):
        await pubsub.subscribe(longest + "a").__aenter__()


@pytest.mark.parametrize("name", ["", "\ud7ff\ud800"])
async def test_what_is_no_channel_is_refused(pubsub, name):
    with pytest.raises(ChannelRefused):
        await pubsub.publish(name, b"")
    with pytest.raises(ChannelRefused):
        await pubsub.subscribe(name).__aenter__()


@pytest.mark.parametrize("pattern", ["[a-é]", "[é-a]", "[^a-é", "x*[~-\x80]"])
async def test_a_range_from_ascii_to_beyond_is_refused(pubsub, pattern):
    with pytest.raises(ChannelRefused, match="both ends are ASCII"):
        await pubsub.subscribe(pattern).__aenter__()


@pytest.mark.limit("pubsub.MESSAGE_BYTES_MAX")
async def test_a_message_is_as_large_as_it_may_be(pubsub):
    async with pubsub.subscribe("news") as messages:
        with pytest.raises(MessageTooLarge, match="1048577 bytes; at most 1048576"):
            await pubsub.publish("news", bytes(MESSAGE_BYTES_MAX + 1))
        await pubsub.publish("news", bytes(MESSAGE_BYTES_MAX))
        assert await hear(messages) == [bytes(MESSAGE_BYTES_MAX)]


@pytest.mark.limit("pubsub.SUBSCRIBERS_MAX")
async def test_there_are_as_many_subscribers_as_may_be(pubsub):
    everybody = [pubsub.subscribe(f"user:{n}") for n in range(SUBSCRIBERS_MAX)]
    heard = await asyncio.gather(*(one.__aenter__() for one in everybody))
    with pytest.raises(TooManySubscribers, match="10000") as caught:
        await pubsub.subscribe("user:1").__aenter__()
    assert caught.value.retry_after_s > 0
    await pubsub.publish("user:9999", b"the last")
    assert await hear(heard[-1]) == [b"the last"]
    await asyncio.gather(*(one.__aexit__(None, None, None) for one in everybody))
    async with pubsub.subscribe("user:1"):
        pass


async def test_one_that_was_refused_takes_no_place(pubsub):
    for _ in range(3):
        with pytest.raises(ChannelRefused):
            await pubsub.subscribe("").__aenter__()
    async with pubsub.subscribe("news") as messages:
        await pubsub.publish("news", b"1")
        assert await hear(messages) == [b"1"]


async def test_whoever_listens_when_it_is_closed_is_told(places):
    async with AsyncExitStack() as stack:
        async with places.open() as pubsub:
            messages = await stack.enter_async_context(pubsub.subscribe("news"))
            await pubsub.publish("news", b"the last")
        assert await hear_all(messages, PubSubAway) == [b"the last"]


async def test_it_is_well(pubsub):
    await pubsub.health()


names = st.text(st.characters() | st.sampled_from("*?[]^-\\:aé"), max_size=12) | st.text(
    "é*", min_size=250, max_size=520
)
values = st.binary(max_size=64) | st.integers(MESSAGE_BYTES_MAX - 1, MESSAGE_BYTES_MAX + 2).map(
    bytes
)


@pytest.mark.shows("pubsub.errors")
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(pattern=names, channel=names, value=values)
@example(pattern="a b\r\nFLUSHALL\r\n", channel="\0", value=b"\r\n")
@example(pattern="\ud800", channel="\udfff", value=b"")
async def test_whatever_is_given_only_refusals_come_of_it(pubsub, pattern, channel, value):
    """And what was not refused is heard."""
    async with AsyncExitStack() as stack:
        if not (is_name(pattern) and is_agreed(pattern)):
            with pytest.raises(ChannelRefused):
                await stack.enter_async_context(pubsub.subscribe(pattern))
            return
        await stack.enter_async_context(pubsub.subscribe(pattern))
        everything = await stack.enter_async_context(pubsub.subscribe("*"))
        if not is_name(channel):
            with pytest.raises(ChannelRefused):
                await pubsub.publish(channel, value)
        elif len(value) > MESSAGE_BYTES_MAX:
            with pytest.raises(MessageTooLarge):
                await pubsub.publish(channel, value)
        else:
            await pubsub.publish(channel, value)
            assert await asyncio.wait_for(anext(everything), 5) == Message(channel, value)


def is_name(text):
    has_half_a_pair = any("\ud800" <= letter <= "\udfff" for letter in text)
    return not has_half_a_pair and 0 < len(text.encode()) <= CHANNEL_BYTES_MAX


def is_agreed(pattern):
    """On what it means: test_glob looks closer."""
    return pattern.isascii() or "[" not in pattern or _is_checked(pattern)


def _is_checked(pattern):
    try:
        check(pattern)
    except ChannelRefused:
        return False
    return True
