"""The mint with its store: leases, numbers, codes and keys, through the contract."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from bastide.base.errors import Unavailable
from bastide.base.faults import failing
from bastide.base.metrics import exposition
from bastide.base.rt.clock import Clock, ManualClock
from bastide.base.rt.runtime import Chance, Runtime, run_on
from bastide.base.tx import Tx
from bastide.engines.ids.contract import (
    CODE_LENGTH_MAX,
    CODE_LENGTH_MIN,
    SERIES_CHARACTERS_MAX,
    SERIES_MAX,
    FencePassed,
    Ids,
    LengthOver,
    NoWorkerId,
    SeriesOver,
    SeriesSpent,
    SeriesWrong,
)
from bastide.engines.ids.core.lease import Worker
from bastide.engines.ids.core.radix import BASE62
from bastide.engines.ids.model import Settings, SettingWrong
from bastide.engines.ids.service.id_mint import IdMint
from bastide.engines.ids.service.keys import POOL
from bastide.engines.ids.service.leases import Leases
from bastide.engines.ids.tables import (
    COUNTER_ADD,
    KEYS_UNUSED_COUNT,
    WORKER_ADD,
    WORKERS_LIST,
)
from bastide.testing.town import RaisedTown, raised

HOUR_S = 3600


async def started(
    town: RaisedTown, clock: Clock | None = None, chance: Chance | None = None, **settings: Any
) -> IdMint:
    """Another process's mint, on the town's database. `clock` None: a clock of its own."""

    def made() -> IdMint:
        run_on(Runtime(clock=clock or ManualClock(), chance=chance))
        return IdMint(Settings(**settings), db=town.served("sql"))

    mint = contextvars.copy_context().run(made)
    await mint.start()
    return mint


async def rows(town: RaisedTown) -> list[Worker]:
    async def body(tx: Tx) -> list[Worker]:
        return await tx.fetch(WORKERS_LIST, limit=2000)

    found: list[Worker] = await town.served("sql").transact(body)
    return found


async def insert(town: RaisedTown, statement: Any, values: list[dict[str, Any]]) -> None:
    async def body(tx: Tx) -> None:
        await tx.run_many(statement, values)

    await town.served("sql").transact(body)


def away(town: RaisedTown) -> None:
    """The database loses every commit, until `back`."""
    town.town.runtime.faults["sql.before_commit"] = failing(OSError("unplugged"))


def back(town: RaisedTown) -> None:
    town.town.runtime.faults.clear()


async def until(happened: Callable[[], Awaitable[bool]]) -> None:
    """Lets the town's own work go on until it has."""
    async with asyncio.timeout(5):
        while not await happened():  # noqa: ASYNC110 (what is waited for sets no event)
            await asyncio.sleep(0)


async def mints(ids: Ids) -> bool:
    try:
        ids.new()
    except FencePassed:
        return False
    return True


async def catches_up(town: RaisedTown) -> bool:
    ids: Ids = town.served("ids")
    return ids.decode(ids.new()).at_ms == town.clock.now_ms()


async def is_ill(town: RaisedTown) -> bool:
    return not (await town.town.health())["ids"].ok


async def pool_is_full(town: RaisedTown) -> bool:
    unused: int = await town.served("sql").one(KEYS_UNUSED_COUNT, pool="key7:links")
    return unused >= POOL


@pytest.mark.box("ids.backward-clock")
async def test_after_a_clock_step_back_of_an_hour_ids_go_on_above() -> None:
    async with raised("ids") as town:
        ids: Ids = town.served("ids")
        before = ids.new()
        town.clock.step(-HOUR_S)
        assert before < ids.new()


async def test_after_a_jump_of_the_clock_ids_go_on_and_the_lease_follows() -> None:
    async with raised("ids") as town:
        ids = town.served("ids")
        town.clock.advance(HOUR_S)
        held = ids.decode(ids.new()).at_ms
        assert held < town.clock.now_ms(), "stamped at most up to the fence"
        await ids.renew()
        assert ids.decode(ids.new()).at_ms == town.clock.now_ms()


async def test_the_worker_renews_the_lease_when_its_fence_is_reached() -> None:
    async with raised("ids") as town:
        town.clock.advance(HOUR_S)
        assert not await catches_up(town)
        await until(partial(catches_up, town))


@pytest.mark.box("ids.no-call-per-id")
async def test_making_ids_calls_no_other_system() -> None:
    async with raised("ids") as town:
        ids: Ids = town.served("ids")
        before = calls_of_the_database(town)
        for _ in range(5000):
            ids.new()
        ids.block(4096), ids.text(), ids.uuid7(), ids.timeuuid()
        assert calls_of_the_database(town) == before
        await ids.number("a")
        assert calls_of_the_database(town) > before


def calls_of_the_database(town: RaisedTown) -> float:
    lines = exposition(town.town.runtime.metrics).splitlines()
    ours = [line for line in lines if line.startswith('bastide_calls_total{client="ids"')]
    return sum(float(line.rpartition(" ")[2]) for line in ours)


@pytest.mark.box("ids.worker-ids-leased")
async def test_two_processes_hold_two_worker_ids() -> None:
    async with raised("ids") as town:
        other = await started(town)
        assert town.served("ids").decode(town.served("ids").new()).worker == 0
        assert other.decode(other.new()).worker == 1


@pytest.mark.box("ids.worker-ids-leased")
async def test_a_clean_stop_gives_the_worker_id_back_and_leaves_the_fence() -> None:
    async with raised("ids") as town:
        other = await started(town)
        held = (await rows(town))[1]
        await other.stop()
        assert await rows(town) == [(await rows(town))[0], Worker(1, "", held.fence_ms)]
        with pytest.raises(FencePassed):
            other.new()


@pytest.mark.box("ids.fenced-leases")
async def test_a_zombie_and_its_successor_share_a_worker_id_and_no_time() -> None:
    async with raised("ids") as town:
        clock = ManualClock()
        paused = await started(town, clock, worker=5)
        before = paused.new()
        clock.advance(HOUR_S)
        successor = await started(town, clock, worker=5)
        zombie = paused.block(4096)
        after = [successor.new() for _ in range(100)]
        assert before < zombie[0]
        assert zombie[-1] < after[0]
        with pytest.raises(FencePassed):
            paused.new()


@pytest.mark.box("ids.fenced-leases")
async def test_whoever_loses_its_worker_id_takes_another_and_ids_ascend() -> None:
    async with raised("ids") as town:
        robbed = town.served("ids")
        last = robbed.new()
        ahead = ManualClock(town.clock.now_ms() + HOUR_S * 1000)
        robber = await started(town, ahead)
        assert robber.decode(robber.new()).worker == robbed.decode(last).worker
        await robbed.renew()
        assert last < robbed.new()
        assert robbed.decode(robbed.new()).worker != robber.decode(robber.new()).worker


@pytest.mark.parametrize("step_s", [-HOUR_S, 0, HOUR_S])
async def test_after_a_kill_a_restart_makes_no_id_again(step_s: int) -> None:
    """Twitter's Snowflake, issue 6: the process forgets, and an older clock repeats."""
    async with raised("ids") as town:
        clock, made = ManualClock(), list[int]()
        for _ in range(5):
            killed = await started(town, clock, worker=9)
            made += killed.block(4096)
            made += killed.block(4096)
            clock.step(step_s)
        assert all(a < b for a, b in pairwise(made))


async def test_an_extension_that_is_committed_late_does_not_take_the_fence_back() -> None:
    async with raised("ids") as town:
        leases = Leases(Settings(), workers=1024, db=town.served("sql"))
        lease = await leases.take(0)
        assert await leases.extend(lease, lease.fence_ms + 5_000)
        assert await leases.extend(lease, lease.fence_ms + 1_000)
        assert (await rows(town))[lease.worker].fence_ms == lease.fence_ms + 5_000


async def test_a_late_taking_does_not_revive_an_old_lease_of_the_same_process() -> None:
    """Robbed, and by a write of its own that came late given the worker id again, a process must
    not extend the lease that it had before: the robber's time lies in between.
    """
    async with raised("ids") as town:
        leases = Leases(Settings(worker=3), workers=1024, db=town.served("sql"))
        old, late = await leases.take(0), await leases.take(0)
        assert old.worker == late.worker
        assert not await leases.extend(old, late.fence_ms + 1_000)
        assert await leases.extend(late, late.fence_ms + 1_000)


async def test_a_holder_that_died_is_followed_after_the_margin() -> None:
    async with raised("ids") as town:
        now_ms = town.clock.now_ms()  # worker 0's fence is 2 s ahead of it, and stands there
        early = await started(town, ManualClock(now_ms + 12_000), margin_ms=10_000)
        assert early.decode(early.new()).worker == 1
        late = await started(town, ManualClock(now_ms + 12_001), margin_ms=10_000)
        assert late.decode(late.new()).worker == 0


@pytest.mark.shows("ids.outage")
@pytest.mark.box("ids.no-single-point")
async def test_while_the_database_is_away_ids_end_at_the_fence_and_then_heal() -> None:
    async with raised("ids") as town:
        ids = town.served("ids")
        away(town)
        town.clock.advance(3)
        ids.block(4096)
        with pytest.raises(FencePassed):
            ids.new()
        with pytest.raises(Unavailable):
            await ids.renew()
        await until(partial(is_ill, town))
        back(town)
        await until(partial(mints, ids))
        assert (await town.town.health())["ids"].ok
        assert ids.decode(ids.new()).at_ms == town.clock.now_ms()


@pytest.mark.box("ids.1024-workers")
async def test_the_1025th_process_finds_no_worker_id() -> None:
    async with raised("ids") as town:
        fence_ms = town.clock.now_ms() + 2_000
        taken = [{"worker": w, "holder": "x", "fence_ms": fence_ms} for w in range(1, 1023)]
        await insert(town, WORKER_ADD, taken)
        last = await started(town)
        assert last.decode(last.new()).worker == 1023
        with pytest.raises(NoWorkerId):
            await started(town)


async def test_a_worker_id_outside_the_layout_is_refused_at_the_start() -> None:
    async with raised("ids") as town:
        await started(town, worker=1023)
        with pytest.raises(SettingWrong, match="0 to 1023"):
            await started(town, worker=1024)


async def test_a_database_keeps_the_layout_it_began_with() -> None:
    async with raised("ids", environ={"BASTIDE_IDS_LAYOUT": "instagram"}) as town:
        ids: Ids = town.served("ids")
        assert len(ids.block(5000)) == 1024
        with pytest.raises(SettingWrong, match="began with instagram"):
            await started(town)


@pytest.mark.box("ids.central-counter")
async def test_numbers_of_many_callers_in_two_processes_are_all_different() -> None:
    async with raised("ids") as town:
        mints = [town.served("ids"), await started(town)]
        made = await asyncio.gather(*(mints[n % 2].number("test.rows") for n in range(2500)))
        assert len(set(made)) == 2500
        assert set(range(1000)) <= set(made)


async def test_each_series_counts_from_0() -> None:
    async with raised("ids") as town:
        ids: Ids = town.served("ids")
        assert [await ids.number("a"), await ids.number("b"), await ids.number("a")] == [0, 0, 1]


async def test_after_a_restart_numbers_go_on_with_a_gap() -> None:
    async with raised("ids") as town:
        assert await (await started(town)).number("a") == 0
        assert await (await started(town)).number("a") == 1000


@pytest.mark.limit("ids.SERIES_CHARACTERS_MAX")
@pytest.mark.parametrize("series", ["", "A", "9", "a b", "a/b", "ä", "a\n", "." + "a", "a" * 65])
async def test_a_series_has_a_plain_name(series: str) -> None:
    async with raised("ids") as town:
        ids: Ids = town.served("ids")
        for asked in (ids.number(series), ids.code(series, length=7), ids.key(series, length=7)):
            with pytest.raises(SeriesWrong):
                await asked


@pytest.mark.limit("ids.SERIES_CHARACTERS_MAX")
async def test_a_series_may_have_64_characters() -> None:
    async with raised("ids") as town:
        assert await town.served("ids").number("a" * SERIES_CHARACTERS_MAX) == 0


@pytest.mark.limit("ids.SERIES_MAX")
async def test_there_are_at_most_series_max_series() -> None:
    async with raised("ids") as town:
        ids: Ids = town.served("ids")
        taken = [{"series": f"number:s{n}", "next": 0} for n in range(SERIES_MAX - 1)]
        await insert(town, COUNTER_ADD, taken)
        assert await ids.number("the.last") == 0
        for asked in (ids.number("more"), ids.code("more", length=7), ids.key("more", length=7)):
            with pytest.raises(SeriesOver):
                await asked
        assert await ids.number("s0") == 0


@pytest.mark.box("ids.codes-do-not-collide")
async def test_codes_of_two_processes_are_all_different_and_of_their_length() -> None:
    async with raised("ids") as town:
        mints = [town.served("ids"), await started(town)]
        made = await asyncio.gather(*(mints[n % 2].code("links", length=7) for n in range(2500)))
        assert len(set(made)) == 2500
        assert {len(code) for code in made} == {7}
        assert set("".join(made)) <= set(BASE62)


@pytest.mark.box("ids.codes-unpredictable")
async def test_another_series_and_another_deployment_have_other_codes() -> None:
    async with raised("ids") as one, raised("ids") as other:
        ids = one.served("ids")
        made = [
            await ids.code("links", length=7),
            await ids.code("photos", length=7),
            await other.served("ids").code("links", length=7),
        ]
        assert len(set(made)) == 3


async def test_the_deployments_secret_is_kept() -> None:
    async with raised("ids") as town:
        first = await started(town)
        second = await started(town)
        assert first.deployment == second.deployment
        assert first.timeuuid().node >> 16 == second.timeuuid().node >> 16


async def test_after_the_last_code_of_a_length_comes_the_next_length() -> None:
    async with raised("ids") as town:
        ids: Ids = town.served("ids")
        await insert(town, COUNTER_ADD, [{"series": "code4:links", "next": 62**4 - 1}])
        made = [await ids.code("links", length=4) for _ in range(3)]
        assert [len(code) for code in made] == [4, 5, 5]
        assert len(set(made)) == 3


async def test_after_the_last_code_of_10_characters_there_is_none() -> None:
    async with raised("ids") as town:
        ids: Ids = town.served("ids")
        await insert(town, COUNTER_ADD, [{"series": "code10:links", "next": 62**10 - 1}])
        assert len(await ids.code("links", length=10)) == 10
        with pytest.raises(SeriesSpent):
            await ids.code("links", length=10)


@pytest.mark.box("ids.key-pool")
async def test_keys_of_two_processes_are_claimed_once() -> None:
    async with raised("ids") as town:
        mints = [town.served("ids"), await started(town)]
        made = await asyncio.gather(*(mints[n % 2].key("links", length=7) for n in range(1500)))
        assert len(set(made)) == 1500
        assert {len(key) for key in made} == {7}
        assert set("".join(made)) <= set(BASE62)


@pytest.mark.box("ids.key-pool")
async def test_the_pool_is_filled_again_after_a_claim() -> None:
    async with raised("ids") as town:
        await town.served("ids").key("links", length=7)
        assert not await pool_is_full(town)
        await until(partial(pool_is_full, town))


class Stuck(Chance):
    """A source that always draws the same."""

    def token(self, byte_count: int) -> bytes:
        return bytes(byte_count)


async def test_a_key_that_is_drawn_again_is_not_given_again() -> None:
    async with raised("ids") as town:
        ids: Ids = town.served("ids")
        town.town.runtime.chance = Stuck()
        assert await ids.key("links", length=4) == "0000"
        with pytest.raises(SeriesSpent):
            await ids.key("links", length=4)
        assert await ids.key("photos", length=4) == "0000"


@pytest.mark.limit("ids.CODE_LENGTH_MAX")
@pytest.mark.parametrize("length", [CODE_LENGTH_MIN - 1, CODE_LENGTH_MAX + 1])
async def test_codes_and_keys_have_4_to_10_characters(length: int) -> None:
    async with raised("ids") as town:
        ids: Ids = town.served("ids")
        for asked in (ids.code("a", length=length), ids.key("a", length=length)):
            with pytest.raises(LengthOver):
                await asked
        inside = min(max(length, CODE_LENGTH_MIN), CODE_LENGTH_MAX)
        assert len(await ids.code("a", length=inside)) == inside
        assert len(await ids.key("a", length=inside)) == inside


Counted = Callable[[Ids], Awaitable[object]]


@pytest.mark.shows("ids.outage")
@pytest.mark.parametrize(
    "verb",
    [
        lambda ids: ids.number("a"),
        lambda ids: ids.code("a", length=7),
        lambda ids: ids.key("a", length=7),
    ],
    ids=["number", "code", "key"],
)
async def test_what_is_counted_is_refused_while_the_database_is_away_and_heals(
    verb: Counted,
) -> None:
    async with raised("ids") as town:
        ids: Ids = town.served("ids")
        away(town)
        with pytest.raises(Unavailable):
            await verb(ids)
        back(town)
        assert await verb(ids) is not None


async def test_random_schedules_of_whole_mints_make_no_id_twice() -> None:
    """The service on SQLite; sim.py runs the rules alone, a thousand times faster."""
    seed = Chance().random.randrange(1 << 32)
    print(f"seed {seed}")
    random = Chance(seed).random
    async with raised("ids") as town:
        clocks = [ManualClock() for _ in range(4)]
        mints = [await started(town, clock, worker=n % 2) for n, clock in enumerate(clocks)]
        last, made = [-1] * len(mints), set[int]()
        for _ in range(400):
            n = random.randrange(len(mints))
            match random.choice(["mint"] * 8 + ["renew", "renew", "step", "pass", "kill", "stop"]):
                case "mint":
                    last[n] = minted(mints[n], random.choice([1, 3, 4096]), last[n], made)
                case "renew":
                    await mints[n].renew()
                case "step":
                    clocks[n].step(random.choice([-HOUR_S, HOUR_S, -0.01]))
                case "pass":
                    seconds = random.choice([0.001, 0.5, 3.0])
                    for clock in clocks:
                        clock.advance(seconds)
                case ending:
                    if ending == "stop":
                        await mints[n].stop()
                    mints[n], last[n] = await started(town, clocks[n], worker=n % 2), -1
        assert len(made) > 10_000


def minted(mint: IdMint, count: int, last: int, made: set[int]) -> int:
    """The last id made, after `last`, and kept in `made`, where it was not."""
    try:
        ids = mint.block(count)
    except FencePassed:
        return last
    assert ids[0] > last
    assert made.isdisjoint(ids)
    made.update(ids)
    return ids[-1]
