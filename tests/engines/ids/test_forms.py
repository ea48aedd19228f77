"""Every form of id, one process, through the contract."""

import itertools
from itertools import pairwise

import pytest

from bastide.engines.ids.contract import (
    BLOCK_MAX,
    RANDOM_LENGTH_MAX,
    ClockBehind,
    CountOver,
    Ids,
    LengthOver,
    NotAnId,
)
from bastide.engines.ids.core.uuids import from_timeuuid
from bastide.testing.town import raised


@pytest.mark.box("ids.unique-and-ascending")
async def test_ids_are_unique_ascending_and_say_when_and_by_whom() -> None:
    async with raised("ids") as town:
        ids: Ids = town.served("ids")
        made = [ids.new() for _ in range(3000)]
        assert all(a < b for a, b in pairwise(made))
        said = ids.decode(made[0])
        assert (said.at_ms, said.worker, said.sequence) == (town.clock.now_ms(), 0, 0)


@pytest.mark.box("ids.4096-a-millisecond")
async def test_a_clock_that_stands_still_is_gone_ahead_of_and_nothing_hangs() -> None:
    async with raised("ids") as town:
        ids: Ids = town.served("ids")
        made = [ids.new() for _ in range(10_000)]
        assert all(a < b for a, b in pairwise(made))
        assert ids.decode(made[-1]).at_ms == town.clock.now_ms() + 2


async def test_under_refuse_a_clock_that_stands_still_ends_in_clock_behind() -> None:
    async with raised("ids", environ={"BASTIDE_IDS_ON_BACKWARD_CLOCK": "refuse"}) as town:
        ids: Ids = town.served("ids")
        assert len(ids.block(5000)) == 4096
        with pytest.raises(ClockBehind):
            ids.new()
        town.clock.advance(0.001)
        assert ids.decode(ids.new()).at_ms == town.clock.now_ms()


@pytest.mark.limit("ids.BLOCK_MAX")
async def test_a_block_takes_1_to_block_max() -> None:
    async with raised("ids") as town:
        ids: Ids = town.served("ids")
        assert len(ids.block(1)) == 1
        assert len(ids.block(BLOCK_MAX)) == 4095
        assert len(ids.block(BLOCK_MAX)) == 4096
        for wrong in (0, -1, BLOCK_MAX + 1):
            with pytest.raises(CountOver):
                ids.block(wrong)


@pytest.mark.box("ids.string-variant")
async def test_texts_are_unique_and_ascend_past_1000_in_a_millisecond() -> None:
    """The sources' counter wraps at 1,000 and repeats."""
    async with raised("ids") as town:
        ids: Ids = town.served("ids")
        made = [ids.text() for _ in range(2500)]
        assert all(a < b for a, b in pairwise(made))
        assert {len(text) for text in made} == {15}


@pytest.mark.box("ids.uuid7")
async def test_version_7_ascends_in_one_process() -> None:
    async with raised("ids") as town:
        ids: Ids = town.served("ids")
        made = [ids.uuid7() for _ in range(1000)]
        assert all(a < b for a, b in pairwise(made))
        assert {uuid.version for uuid in made} == {7}


@pytest.mark.box("ids.timeuuid")
async def test_timeuuids_are_unique_and_their_times_ascend() -> None:
    async with raised("ids") as town:
        ids: Ids = town.served("ids")
        made = [ids.timeuuid() for _ in range(5000)]
        assert all(a.time < b.time for a, b in pairwise(made))
        assert {uuid.version for uuid in made} == {1}
        assert len({uuid.node for uuid in made}) == 1
        assert from_timeuuid(made[0].int).at_ms == town.clock.now_ms()


async def test_only_a_number_of_63_bits_is_decoded() -> None:
    async with raised("ids") as town:
        ids: Ids = town.served("ids")
        assert ids.decode((1 << 63) - 1).sequence == 4095
        for wrong in (-1, 1 << 63):
            with pytest.raises(NotAnId):
                ids.decode(wrong)


@pytest.mark.limit("ids.RANDOM_LENGTH_MAX")
async def test_a_random_word_has_1_to_64_characters() -> None:
    async with raised("ids") as town:
        ids: Ids = town.served("ids")
        for length in (1, 22, RANDOM_LENGTH_MAX):
            assert len(ids.random(length=length)) == length
        assert ids.random(length=22) != ids.random(length=22)
        for wrong in (0, RANDOM_LENGTH_MAX + 1):
            with pytest.raises(LengthOver):
                ids.random(length=wrong)


@pytest.mark.box("ids.shared-module")
async def test_ids_of_tweets_photos_messages_and_rows_come_from_one_mint() -> None:
    """Whoever needs Ids gets the same one: kinds never share an id."""
    async with raised("ids") as town:
        ids: Ids = town.served("ids")
        kinds = [[ids.new() for _ in range(100)] for _ in range(4)]
        assert len(set(itertools.chain(*kinds))) == 400
