"""The five properties of the extended paper's figure 3, under whatever may happen."""

import os

import pytest

from tests.parts.raft.core_kit import payloads_of
from tests.parts.raft.core_storm import Storm

ROUNDS = int(os.environ.get("BASTIDE_TEST_ROUNDS", "1"))


@pytest.mark.box("raft.safe")
@pytest.mark.parametrize("part", range(4))
def test_a_group_in_a_storm_stays_safe_and_agrees_when_it_is_over(part):
    """Figure 3: election safety, leader append-only, log matching, leader completeness, state
    machine safety; thesis 6.4: no stale read; and it goes on once the storm is over.
    """
    for seed in range(part * 8 * ROUNDS, (part + 1) * 8 * ROUNDS):
        storm = Storm(seed)
        try:
            storm.run(3_000)
            storm.calm()
            leaders = [n for n in storm.nodes.values() if n.core.status().kind == "leader"]
            leader = max(leaders, key=lambda n: n.core.status().term)
            storm.count += 1
            leader.core.propose(storm.clock(leader), [b"the last"])
            storm.pump(leader)
            storm.calm()
            for number in leader.core.status().members.voters:
                assert payloads_of(storm.nodes[number])[-1] == b"the last"
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error
