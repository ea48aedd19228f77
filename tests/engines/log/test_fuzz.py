"""Whatever a caller gives: an answer, or a refusal of the contract."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bastide.base.errors import Refusal
from bastide.engines.log import contract
from bastide.engines.log.contract import Place, Record, Topic
from tests.engines.log.town_kit import PATIENCE_S, read_all, some, values

CLICKS = "owner.clicks"
SOME = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NAMES = st.sampled_from([CLICKS, "owner.", "owner", "mill.x", "", "."]) | st.text(max_size=12)
NUMBERS = st.integers(-2, 3) | st.integers(-(1 << 70), 1 << 70)
RECORDS = st.builds(
    Record,
    st.none() | st.binary(max_size=30),
    st.none() | st.binary(max_size=30),
    st.lists(st.tuples(st.text(max_size=8), st.binary(max_size=8)), max_size=3),
)
CALLS = st.one_of(
    st.tuples(
        st.just("append"),
        st.fixed_dictionaries(
            {"topic": NAMES, "records": st.lists(RECORDS, max_size=4)},
            optional={"partition": st.none() | NUMBERS},
        ),
    ),
    st.tuples(
        st.just("read"),
        st.fixed_dictionaries(
            {"topic": NAMES, "partition": NUMBERS, "offset": NUMBERS},
            optional={"bytes_max": NUMBERS, "wait_s": st.sampled_from([-1.0, 0.0, 0.001])},
        ),
    ),
    st.tuples(
        st.just("offset_at"),
        st.fixed_dictionaries({"topic": NAMES, "partition": NUMBERS, "stamp_ms": NUMBERS}),
    ),
    st.tuples(st.just("ends"), st.fixed_dictionaries({"topic": NAMES})),
    st.tuples(
        st.just("create"),
        st.fixed_dictionaries({"topic": st.builds(Topic, NAMES, st.integers(-2, 4))}),
    ),
    st.tuples(st.just("lag"), st.fixed_dictionaries({"group": NAMES})),
)


async def answered(verb):
    """None, if it is refused as the contract says."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await verb
    except Refusal as refusal:
        if type(refusal).__module__ != contract.__name__:
            raise  # of what it stands on
        return None


@pytest.mark.shows("log.errors")
@SOME
@given(call=CALLS)
async def test_nothing_but_the_contracts_refusals_comes_of_any_call(log, call):
    name, given_ = call
    await log.append("owner.bystander", some(1))
    await answered(getattr(log, name)(**given_))
    entries = await read_all(log, "owner.bystander")
    assert values(entries)[-1] == b"0"


@pytest.mark.shows("log.errors")
@settings(SOME, max_examples=25)
@given(
    group=NAMES,
    topics=st.lists(NAMES, max_size=3),
    offset=NUMBERS,
    entries_max=st.integers(1, 5),
)
async def test_nothing_but_the_contracts_refusals_comes_of_any_member(
    log, group, topics, offset, entries_max
):
    async def reads():
        async with log.member(group, topics) as member:
            for topic, partition in member.partitions:
                await member.commit([Place(topic, partition, 0)])
            assert len(await member.poll(entries_max=entries_max, wait_s=0)) <= entries_max
            await member.commit([Place("owner.not-mine", 7, offset)])

    await answered(reads())
    for name in [one.name for one in await log.groups()]:
        await answered(log.lag(name))


@pytest.mark.shows("log.errors")
@pytest.mark.parametrize("session_s", [0.0, -1.0, 0.001, 1e9])
async def test_a_session_that_no_group_takes_is_refused_by_the_contracts_error(log, session_s):
    async def enters():
        async with log.member("g", [CLICKS], session_s=session_s):
            return True

    assert await answered(enters()) is None
