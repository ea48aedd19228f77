"""128-bit ids, taken apart by the standard library."""

from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.engines.ids.contract import Decoded
from bastide.engines.ids.core.uuids import RANDOM_BYTES, Uuid7, from_timeuuid, timeuuid

NOW_MS = 1_800_000_000_000
RANDOM = st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)


@pytest.mark.box("ids.uuid7")
@given(st.integers(0, (1 << 48) - 1), RANDOM)
def test_version_7_begins_with_48_bits_of_milliseconds(now_ms: int, random: bytes) -> None:
    uuid = UUID(int=Uuid7().next(now_ms, random))
    assert (uuid.version, uuid.variant) == (7, RFC_4122)
    assert uuid.int >> 80 == now_ms


@given(st.lists(st.tuples(st.integers(NOW_MS - 5, NOW_MS + 5), RANDOM), min_size=2))
def test_version_7_ascends_whatever_the_clock(draws: list[tuple[int, bytes]]) -> None:
    state = Uuid7()
    made = [state.next(now_ms, random) for now_ms, random in draws]
    assert made == sorted(set(made))


def test_a_counter_that_runs_over_goes_on_in_the_next_millisecond() -> None:
    """RFC 9562, section 6.2: "implementations MAY increment the timestamp ahead of the actual
    time"; the counter begins with its top bit 0, so 2**41 steps lie before that.
    """
    state, full = Uuid7(), b"\xff" * RANDOM_BYTES
    first = state.next(NOW_MS, full)
    assert first >> 63 & 1  # the variant
    state._counter = (1 << 42) - 1  # after 2**41 ids in one millisecond, which no test can make
    second = UUID(int=state.next(NOW_MS, full))
    assert second.int > first
    assert second.int >> 80 == NOW_MS + 1
    assert (second.version, second.variant) == (7, RFC_4122)


@pytest.mark.box("ids.timeuuid")
@given(
    st.integers(0, (1 << 45)), st.integers(0, 8191), st.integers(0, 4095), st.integers(0, 2**32 - 1)
)
def test_a_timeuuid_is_version_1_and_says_what_the_id_says(
    at_ms: int, worker: int, sequence: int, deployment: int
) -> None:
    said = Decoded(at_ms, worker, sequence)
    uuid = UUID(int=timeuuid(said, deployment=deployment))
    assert (uuid.version, uuid.variant) == (1, RFC_4122)
    ticks_1970 = uuid.time - 0x01B21DD213814000  # RFC 9562, section 5.1
    assert divmod(ticks_1970, 10_000) == (at_ms, sequence)
    assert uuid.node >> 40 & 1, "no hardware address: section 6.10 wants the multicast bit"
    assert from_timeuuid(uuid.int) == said
