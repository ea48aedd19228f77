"""Whatever is given: it is kept and comes back as it was, or it is refused for its own reason."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bastide.base.errors import Refusal
from bastide.engines.cache.contract import (
    COUNT_MAX,
    KEY_BYTES_MAX,
    TTL_S_MAX,
    CountRefused,
    KeyRefused,
    TtlRefused,
)
from tests.engines.cache.kit import Loads, loaded

EXAMPLES = int(os.environ.get("BASTIDE_TEST_ROUNDS", "1")) * 60
FUZZED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

# Halves of surrogate pairs, too, and what means something to a server.
KEY = st.one_of(
    st.text(st.characters(), max_size=20),
    st.text(st.sampled_from("aé𝄞\ud800"), min_size=120, max_size=520),
    st.sampled_from(["", "\0", "a:b", "*", "{x}", "a b\r\nFLUSHALL\r\n", ":roll:", "v:a"]),
)
TTL_S = st.one_of(st.floats(1, TTL_S_MAX), st.floats(), st.integers())
AMOUNT = st.one_of(st.integers(), st.integers(-COUNT_MAX - 2, COUNT_MAX + 2))


async def told(asked):
    """What it answers, or its refusal. Anything else that comes out fails the test."""
    try:
        return await asked
    except Refusal as refusal:
        return type(refusal)


def wrong_with(key, ttl_s):
    """The refusals that may come."""
    found = set()
    try:
        if not 0 < len(key.encode()) <= KEY_BYTES_MAX:
            found.add(KeyRefused)
    except UnicodeEncodeError:
        found.add(KeyRefused)
    return found if 0 < ttl_s <= TTL_S_MAX else found | {TtlRefused}


@pytest.mark.shows("cache.errors")
@FUZZED
@given(key=KEY, value=st.binary(max_size=60), ttl_s=TTL_S)
async def test_a_value_is_kept_as_it_is_or_refused(cache, key, value, ttl_s):
    wrong = wrong_with(key, ttl_s)
    put = await told(cache.put(key, value, ttl_s=ttl_s))
    assert put in wrong if wrong else put is None
    got = await told(cache.get(key))
    if KeyRefused in wrong:
        assert got is KeyRefused
    else:
        assert got == (None if wrong or ttl_s < 1 else value) or ttl_s < 1
    assert await told(cache.delete(key)) is (KeyRefused if KeyRefused in wrong else None)
    assert await told(cache.get(key)) is (KeyRefused if KeyRefused in wrong else None)


@pytest.mark.shows("cache.errors")
@FUZZED
@given(key=KEY, value=st.none() | st.binary(max_size=60), ttl_s=TTL_S, absent_ttl_s=TTL_S)
async def test_a_load_is_answered_or_refused(cache, key, value, ttl_s, absent_ttl_s):
    wrong = wrong_with(key, ttl_s) | wrong_with(key, absent_ttl_s)
    load = Loads(value=value)
    found = await told(loaded(cache, key, load, ttl_s=ttl_s, absent_ttl_s=absent_ttl_s))
    assert found in wrong if wrong else found == value
    assert load.count == (0 if wrong else 1)
    await told(cache.delete(key))


@pytest.mark.shows("cache.errors")
@FUZZED
@given(key=KEY, amounts=st.lists(AMOUNT, min_size=1, max_size=4))
async def test_sums_are_exact_and_stay_within_64_bits(cache, key, amounts):
    if wrong_with(key, 60):
        assert await told(cache.increment(key, ttl_s=60)) is KeyRefused
        return
    total = 0
    for amount in amounts:
        found = await told(cache.increment(key, amount, ttl_s=60))
        if abs(amount) > COUNT_MAX or abs(total + amount) > COUNT_MAX:
            assert found is CountRefused
        else:
            total += amount
            assert found == total
    await cache.delete(key)
