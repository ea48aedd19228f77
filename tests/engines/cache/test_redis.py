"""Several processes on Redis: what one takes back no other answers; outages; servers on a ring."""

import asyncio
import os
import secrets
import sys
import time
from pathlib import Path

import pytest

from bastide.base.rt import runtime
from bastide.engines.cache.contract import LEASE_S, LOAD_S_MAX, CacheAway
from tests.engines.cache.conftest import Caches
from tests.engines.cache.kit import Loads, eventually, loaded
from tests.parts.redis.kit import proxied, running

pytestmark = pytest.mark.engine("redis")

HAMMER = Path(__file__).with_name("hammer.py")
ROUNDS = int(os.environ.get("BASTIDE_TEST_ROUNDS", "3"))
TIMEOUT_S = 0.25  # the default of timeout_s
SLACK_S = 0.15  # a shared machine


@pytest.fixture
async def pair(shared):
    async with shared.open() as one, shared.open() as other:
        yield one, other


def is_near(cache, key):
    return cache._near(key) is not None


async def near(cache, key):
    """Reads until it is answered without asking: a lease must be there first."""

    async def so():
        await cache.get(key)
        return is_near(cache, key)

    await eventually(so)


async def settled():
    """The first LEASE_S of a connection are over, in which an invalidation waits the whole time."""
    await asyncio.sleep(LEASE_S)  # nothing else tells


async def seconds(awaitable):
    began_s = time.monotonic()
    await awaitable
    return time.monotonic() - began_s


@pytest.mark.box("cache.two-processes")
async def test_what_one_process_takes_back_the_other_does_not_answer(pair):
    one, other = pair
    for _ in range(20):
        await one.put("a", b"value", ttl_s=60)
        await near(one, "a")
        await near(other, "a")
        await one.invalidate(["a"])
        assert not is_near(other, "a")
        assert await other.get("a") is None


async def test_an_invalidation_that_all_hear_does_not_wait_for_their_leases(pair):
    one, other = pair
    await settled()
    took_s = []
    for _ in range(9):
        await one.put("a", b"value", ttl_s=60)
        await near(other, "a")
        took_s.append(await seconds(one.invalidate(["a"])))
    assert sorted(took_s)[4] < LEASE_S / 4, took_s


async def test_what_one_process_puts_the_other_soon_sees(pair):
    one, other = pair
    await one.put("a", b"old", ttl_s=60)
    await near(other, "a")
    await one.put("a", b"new", ttl_s=60)

    async def so():
        return await other.get("a") == b"new"

    await eventually(so)


async def test_a_load_in_one_process_is_not_kept_after_an_invalidation_in_the_other(pair):
    one, other = pair
    load = Loads(value=b"old", gate=asyncio.Event())
    waiting = asyncio.create_task(loaded(one, "a", load))
    await load.began.wait()
    await other.invalidate(["a"])
    assert await loaded(one, "a", Loads(value=b"new")) == b"new", "nobody joins the old load"
    load.gate.set()
    assert await waiting == b"old"
    assert await one.get("a") == await other.get("a") == b"new"


@pytest.mark.limit("cache.LOAD_S_MAX")
@pytest.mark.parametrize("over", [False, True])
async def test_a_load_has_so_long_to_be_kept_and_one_that_took_longer_is_returned(own, redis, over):
    """The server counts. Its clock can't be told: an operator ends the time."""
    async with own.open() as cache:
        load = Loads(gate=asyncio.Event())
        waiting = asyncio.create_task(loaded(cache, "a", load))
        await load.began.wait()
        token = redis.say("KEYS", "*:t:a").split("\r\n")[2]
        left_s = int(redis.say("PTTL", token)[1:]) / 1000
        assert LOAD_S_MAX - 5 < left_s <= LOAD_S_MAX
        if over:
            redis.say("PEXPIRE", token, "0")
        load.gate.set()
        assert await waiting == b"loaded"
        assert await cache.get("a") == (None if over else b"loaded")


async def test_a_put_in_another_process_outlives_a_load_that_began_before(pair):
    one, other = pair
    load = Loads(value=b"old", gate=asyncio.Event())
    waiting = asyncio.create_task(loaded(one, "a", load))
    await load.began.wait()
    await other.put("a", b"new", ttl_s=60)
    load.gate.set()
    await waiting
    assert await one.get("a") == b"new"


async def test_increments_in_two_processes_are_all_counted(pair):
    one, other = pair
    calls = (cache.increment("a", ttl_s=60) for _ in range(50) for cache in (one, other))
    assert sorted(await asyncio.gather(*calls)) == list(range(1, 101))


async def test_values_end_with_their_time_near_and_far(pair):
    one, other = pair
    await one.put("a", b"value", ttl_s=0.2)
    await one.increment("a", 5, ttl_s=0.2)
    await near(other, "a")

    async def gone():
        return await other.get("a") is None

    assert 0.1 < await seconds(eventually(gone)) < 0.2 + SLACK_S
    await asyncio.sleep(0.02)
    assert await one.increment("a", ttl_s=60) == 1


@pytest.mark.box("cache.hammer")
@pytest.mark.timeout(60 + 5 * ROUNDS)
async def test_no_process_answers_with_a_value_after_its_invalidation_returned(shared):
    """Three processes read near as fast as they can; a fourth puts, waits, takes back, puts the
    next. What each of them says: when did the last read begin that gave a value?
    """
    keys = [f"k{secrets.token_hex(3)}" for _ in range(3)]
    program = [sys.executable, str(HAMMER), shared.url, shared.client, *keys]
    pipe = asyncio.subprocess.PIPE
    started = [await asyncio.create_subprocess_exec(*program, stdout=pipe) for _ in range(3)]
    for process in started:
        assert await process.stdout.readline() == b"ready\n"
    taken_back_s = {}
    async with shared.open() as cache:
        for number in range(20 * ROUNDS):
            for key in keys:
                await cache.put(key, b"%d" % number, ttl_s=60)
            await asyncio.sleep(0.01)
            await cache.invalidate(keys)
            for key in keys:
                taken_back_s[key, str(number)] = time.monotonic()
        for key in keys:
            await cache.put(key, b"end", ttl_s=60)
        said = b"".join([(await process.communicate())[0] for process in started]).decode()
    seen = near_hits = 0
    for line in said.splitlines():
        _, key, value, began_s, near = line.split()
        assert float(began_s) <= taken_back_s[key, value], line
        seen, near_hits = seen + 1, near_hits + int(near)
    print(f"{seen} values seen by 3 processes, {near_hits} repeated reads, none too late")
    assert seen > 60 * ROUNDS
    assert near_hits > seen


@pytest.mark.box("cache.outage")
@pytest.mark.shows("cache.outage")
async def test_while_the_server_is_away_reads_miss_loads_go_through_and_it_heals(own, redis):
    async with own.open() as cache:
        await cache.put("a", b"value", ttl_s=60)
        await near(cache, "a")
        redis.stop()
        assert await seconds(cache.get("b")) < TIMEOUT_S + SLACK_S
        await cache.put("b", b"value", ttl_s=60)
        load = Loads()
        assert await loaded(cache, "c", load) == await loaded(cache, "c", load) == b"loaded"
        assert load.count == 2, "what was loaded could not be kept"
        for refused in (cache.increment("n", ttl_s=60), cache.delete("a"), cache.health()):
            with pytest.raises(CacheAway):
                await refused
        await eventually(lambda: _silent(cache, "a"))
        redis.start()
        await eventually(lambda: _well(cache))
        assert await cache.get("a") is None
        await cache.put("a", b"again", ttl_s=60)
        await near(cache, "a")
        await cache.delete("a")
        assert await cache.get("a") is None


async def _silent(cache, key):
    return not is_near(cache, key)


async def _well(cache):
    try:
        await cache.health()
    except CacheAway:
        return False
    return True


async def test_a_town_opens_without_the_server_and_gets_it_later(own, redis):
    redis.stop()
    async with own.open(options="?connect_s=0.1") as cache:
        assert await cache.get("a") is None
        redis.start()
        await eventually(lambda: _well(cache))


async def test_ten_thousand_that_miss_while_the_server_is_away_load_twice_at_most(own, redis):
    """The second load is for those who came when the first was up: it may have read what was
    taken back before they came.
    """
    async with own.open() as cache:
        redis.stop()
        await cache.get("a")
        load = Loads()
        found = await asyncio.gather(*(loaded(cache, "a", load) for _ in range(10_000)))
        assert set(found) == {b"loaded"}
        assert load.count <= 2


@pytest.mark.box("cache.paused")
async def test_a_paused_server_is_missed_within_the_time_out_and_heals(own, redis):
    async with own.open() as cache:
        await cache.put("a", b"value", ttl_s=60)
        await near(cache, "a")
        redis.pause()
        assert await seconds(cache.get("b")) < TIMEOUT_S + SLACK_S
        assert await seconds(cache.get("b")) < SLACK_S, "others don't wait for it again"
        assert not is_near(cache, "a")
        with pytest.raises(CacheAway):
            await cache.invalidate(["a"])
        redis.resume()
        await eventually(lambda: _well(cache))
        await cache.invalidate(["a"])
        assert await cache.get("a") is None


@pytest.fixture
async def proxy(redis):
    async with proxied(redis.port) as proxy:
        yield proxy


@pytest.fixture
def behind(proxy, own):
    """Caches of the same client, whose way to the server can be cut."""
    caches = Caches(f"redis://127.0.0.1:{proxy.port}/0?timeout_s=5")
    caches.client = own.client
    return caches


@pytest.mark.box("cache.cut")
async def test_whose_tracking_is_cut_answers_nothing_after_the_lease(own, behind, proxy):
    """Cut on the way, unseen: what the server says does not come, and no end of the connection."""
    async with own.open() as cache, behind.open() as cut:
        await settled()
        await cache.put("a", b"value", ttl_s=60)
        await near(cut, "a")
        proxy.words.clear()
        took_s = await seconds(cache.invalidate(["a"]))
        assert not is_near(cut, "a")
        assert LEASE_S <= took_s < LEASE_S + SLACK_S
        await cache.invalidate(["a"])  # a beat that was on its way may have kept it on the roll
        assert await seconds(cache.invalidate(["a"])) < LEASE_S / 2, "it was struck off the roll"
        proxy.words.set()
        await cache.put("a", b"new", ttl_s=60)
        await near(cut, "a")
        await cache.invalidate(["a"])
        assert not is_near(cut, "a"), "it has enrolled again"


@pytest.mark.box("cache.zombie")
@pytest.mark.parametrize("within_lease", [True, False])
async def test_a_put_that_was_given_up_and_comes_late_brings_nothing_back(
    own, redis, proxy, within_lease
):
    """It returned before the invalidation began; the server reads it after the deletion: while
    others wait for the lease of who sent it, or when they have returned.
    """
    slow = Caches(f"redis://127.0.0.1:{proxy.port}/0")
    slow.client = own.client
    async with own.open() as cache, slow.open() as zombie:
        await settled()
        proxy.words.clear()
        putting = asyncio.create_task(zombie.put("a", b"zombie", ttl_s=60))
        await eventually(lambda: _has_key(redis, ":t:a"))
        proxy.commands.clear()
        proxy.words.set()  # it has its token, and what it says with it lies on the way
        await putting
        deleting = asyncio.create_task(cache.invalidate(["a"]))
        await eventually(lambda: _has_no_key(redis, ":t:a"))
        if not within_lease:
            await deleting
        proxy.commands.set()
        await deleting
        await eventually(lambda: _well(zombie))
        assert await cache.get("a") is None
        assert await zombie.get("a") is None


async def _has_key(redis, end):
    return end in redis.say("KEYS", f"*{end}")


async def _has_no_key(redis, end):
    return not await _has_key(redis, end)


async def test_what_was_read_before_an_invalidation_and_comes_after_it_is_not_kept_near(
    own, behind, proxy
):
    async with own.open() as cache, behind.open() as cut:
        await settled()
        await cache.put("a", b"old", ttl_s=60)
        proxy.words.clear()
        reading = asyncio.create_task(cut.get("a"))
        await asyncio.sleep(LEASE_S / 2)  # the server has answered; nothing tells
        await cache.invalidate(["a"])
        proxy.words.set()
        assert await reading == b"old", "it asked before"
        assert not is_near(cut, "a")
        assert await cut.get("a") is None


async def test_an_invalidation_whose_roll_is_lost_meanwhile_waits_for_the_lease(
    own, behind, proxy, redis
):
    async with own.open() as cache, behind.open() as cut:
        await settled()
        await cache.put("a", b"value", ttl_s=60)
        await near(cut, "a")
        proxy.words.clear()
        began_s = time.monotonic()
        deleting = asyncio.create_task(cache.invalidate(["a"]))
        await eventually(lambda: _has_no_key(redis, ":v:a"))
        lose_roll(redis)
        await deleting
        assert time.monotonic() - began_s >= LEASE_S
        assert not is_near(cut, "a")
        proxy.words.set()


async def test_an_invalidation_soon_after_the_roll_was_lost_waits_for_the_lease_too(
    own, behind, proxy, redis
):
    """Who has a near cache, and is cut off, is on no roll any more."""
    async with own.open() as cache, behind.open() as cut:
        await settled()
        await cache.put("a", b"value", ttl_s=60)
        await near(cut, "a")
        proxy.words.clear()
        proxy.commands.clear()
        lose_roll(redis)
        await eventually(lambda: _has_key(redis, ":roll:"))
        await cache.invalidate(["a"])
        assert not is_near(cut, "a")
        proxy.words.set()
        proxy.commands.set()


def lose_roll(redis):
    """As an eviction would."""
    name = redis.say("KEYS", "*:roll:").split("\r\n")[2]
    assert redis.say("DEL", name) == ":1\r\n"


@pytest.mark.box("cache.owed")
async def test_what_could_not_be_taken_back_is_as_soon_as_the_server_is_reached(
    own, behind, proxy, redis
):
    """Cut off alone: the server and the others go on."""
    async with own.open() as cache, behind.open() as cut:
        await cache.put("a", b"old", ttl_s=60)
        await cache.increment("a", 5, ttl_s=60)
        await near(cache, "a")
        proxy.refuses = True
        proxy.cut()
        await eventually(lambda: _unwell(cut))
        with pytest.raises(CacheAway):
            await cut.invalidate(["a"])
        assert await cache.get("a") == b"old", "nobody has told it"
        proxy.refuses = False
        await eventually(lambda: _well(cut))
        assert await cut.get("a") is None

        async def told():
            return await cache.get("a") is None

        await eventually(told)
        assert await cache.increment("a", ttl_s=60) == 1


@pytest.mark.shows("cache.repeat")
async def test_a_call_whose_answer_was_lost_has_one_effect(own, behind, proxy):
    """What may be done twice is asked again by itself; what may not is told as unknown."""
    async with own.open() as cache, behind.open() as cut:
        await cache.put("a", b"value", ttl_s=60)
        proxy.drops = True
        with pytest.raises(CacheAway) as caught:
            await cut.increment("n", 5, ttl_s=60)
        assert caught.value.outcome == "unknown"
        proxy.drops = False
        await eventually(lambda: _well(cut))
        assert await cache.increment("n", 1, ttl_s=60) == 6, "it was run once, and not again"
        for _ in range(2):
            await cut.put("a", b"value", ttl_s=60)
            assert await cache.get("a") == b"value"
        proxy.drops = True
        deleting = asyncio.create_task(cut.invalidate(["a"]))
        await eventually(lambda: _unwell(cut))
        proxy.drops = False
        await deleting
        assert await cache.get("a") is None
        await cut.invalidate(["a"])
        assert await cache.get("a") is None


async def _unwell(cache):
    return not await _well(cache)


async def test_when_the_connection_is_closed_nothing_near_is_answered_until_it_was_read_anew(
    own, redis
):
    async with own.open() as cache:
        await cache.put("a", b"value", ttl_s=60)
        await near(cache, "a")
        redis.say("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await eventually(lambda: _silent(cache, "a"))
        await eventually(lambda: _well(cache))
        await near(cache, "a")


@pytest.mark.parametrize("verb", ["FLUSHALL", "DEL", "SCRIPT FLUSH"])
async def test_what_an_operator_does_to_the_keys_does_not_bring_anything_back(own, redis, verb):
    async with own.open() as one, own.open() as other:
        await one.put("a", b"value", ttl_s=60)
        await near(other, "a")
        if verb == "DEL":
            lose_roll(redis)
        else:
            redis.say(*verb.split())

        async def taken_back():
            try:
                await one.invalidate(["a"])
            except CacheAway:
                return False
            return True

        await eventually(taken_back)
        assert not is_near(other, "a")
        assert await other.get("a") is None
        await one.put("a", b"new", ttl_s=60)
        await near(other, "a")


@pytest.mark.box("cache.restarted-server")
async def test_a_server_that_comes_back_with_an_old_file_answers_nothing_of_it(tmp_path):
    """Nor of what was to be taken back while it was away."""
    options = ("--appendonly", "yes", "--appendfsync", "always")
    with running(tmp_path, *options) as redis:
        async with Caches(redis.url).open() as cache:
            for key in ("a", "b"):
                await cache.put(key, b"value", ttl_s=60)
                assert await cache.get(key) == b"value"
            redis.stop()
            with pytest.raises(CacheAway):
                await cache.invalidate(["b"])
            redis.start()
            await eventually(lambda: _well(cache))
            assert redis.say("DBSIZE") != ":0\r\n", "the file was read"
            assert await cache.get("a") is None
            assert await cache.get("b") is None


@pytest.mark.box("cache.ring")
async def test_keys_are_spread_over_servers_and_one_that_is_away_takes_only_its_own(tmp_path):
    with running(tmp_path / "one") as one, running(tmp_path / "two") as two:
        caches = Caches(f"redis://127.0.0.1:{one.port},127.0.0.1:{two.port}/0")
        keys = [f"k{n}" for n in range(40)]
        async with caches.open() as cache, caches.open() as other:
            for key in keys:
                await cache.put(key, b"value", ttl_s=60)
            assert set(await asyncio.gather(*(other.get(key) for key in keys))) == {b"value"}
            two.stop()
            left = [key for key in keys if await cache.get(key)]
            assert 5 < len(left) < 35
            assert [key for key in left if await other.get(key) is None] == []
            await cache.invalidate(left)
            assert set(await asyncio.gather(*(other.get(key) for key in keys))) == {None}
            with pytest.raises(CacheAway):
                await cache.invalidate(keys)


async def test_a_loop_that_stood_still_does_not_answer_from_an_old_lease(pair):
    one, other = pair
    await one.put("a", b"value", ttl_s=60)
    await near(other, "a")
    until_s = runtime.monotonic() + LEASE_S
    while runtime.monotonic() < until_s:
        pass
    assert not is_near(other, "a")
    await near(other, "a")


async def test_no_password_is_told_when_the_server_refuses_it(redis):
    caches = Caches(redis.url.replace("redis://", "redis://ann:hush@"))
    async with caches.open(options="?connect_s=0.1") as cache:
        with pytest.raises(CacheAway) as caught:
            await cache.health()
        assert "hush" not in str(caught.value)


async def test_a_login_and_a_database_of_its_own_are_used(redis):
    redis.say("ACL", "SETUSER", "ann", "on", ">hush", "~*", "&*", "+@all")
    caches = Caches(f"redis://ann:hush@127.0.0.1:{redis.port}/3")
    async with caches.open() as cache:
        await cache.put("a", b"value", ttl_s=60)
        assert await cache.get("a") == b"value"
        assert "db3" in redis.say("INFO", "keyspace")
