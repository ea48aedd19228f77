"""The ring: shares, and how little moves when servers come and go."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.parts.ring.core import Ring, slot_of

KEYS = [f"link:{n}".encode() for n in range(5_000)]


def servers(count):
    return [f"10.0.0.{n}:6379/0" for n in range(1, count + 1)]


def owners(ring):
    return {key: ring.owner(key) for key in KEYS}


def moved(before, after):
    return {key for key in KEYS if before[key] != after[key]}


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_a_server_that_joins_takes_its_share_and_nothing_moves_between_the_others(count):
    """Trap: a demo of consistent hashing that is `hash % n` moves n/(n+1) of the keys."""
    before, after = owners(Ring(servers(count))), owners(Ring(servers(count + 1)))
    gone = moved(before, after)
    assert {after[key] for key in gone} == {servers(count + 1)[-1]}
    share = 1 / (count + 1)
    assert 0.8 * share < len(gone) / len(KEYS) < 1.2 * share
    by_modulo = sum(slot_of(key) % count != slot_of(key) % (count + 1) for key in KEYS)
    assert len(gone) < 1.1 * by_modulo
    assert count < 2 or len(gone) < by_modulo / 1.2


def test_a_server_that_leaves_gives_its_keys_to_all_others_and_no_other_key_moves():
    everybody = servers(8)
    for leaving in (everybody[0], everybody[5]):
        before = owners(Ring(everybody))
        after = owners(Ring([server for server in everybody if server != leaving]))
        gone = moved(before, after)
        assert gone == {key for key in KEYS if before[key] == leaving}
        taken = Counter(after[key] for key in gone)
        assert set(taken) == set(everybody) - {leaving}
        assert max(taken.values()) < 1.7 * min(taken.values())


@pytest.mark.parametrize(("count", "off"), [(3, 0.03), (8, 0.06), (20, 0.09)])
def test_shares_are_as_equal_as_the_lesson_says(count, off):
    ring, asked = Ring(servers(count)), 50_000
    shares = Counter(ring.owner(b"user:%d" % n) for n in range(asked))
    by_chance = 3 * (count / asked) ** 0.5
    for server in servers(count):
        assert abs(shares[server] * count / asked - 1) < off + by_chance


@settings(max_examples=5, deadline=None)
@given(st.permutations(servers(5)))
def test_the_order_in_which_servers_are_named_makes_no_difference(named):
    assert owners(Ring(named)) == owners(Ring(servers(5)))


def test_a_ring_of_other_servers_is_the_same_in_every_process():
    """Written down: if this changes, processes of two releases ask two servers for one key."""
    ring = Ring(servers(3))
    found = [ring.owner(key)[7] for key in (b"a", b"link:1", b"link:2", b"", "é".encode())]
    assert "".join(found) == "11121"


def test_a_server_alone_owns_every_key():
    assert set(owners(Ring(servers(1))).values()) == {"10.0.0.1:6379/0"}


@pytest.mark.parametrize("named", [[], ["a", "b", "a"]])
def test_no_ring_is_made_of_nobody_or_of_one_named_twice(named):
    with pytest.raises(AssertionError):
        Ring(named)
