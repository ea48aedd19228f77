"""Some seeds of the simulations: each holds, and is the same run twice."""

import pytest

from bastide.engines.coord.sim import SIMULATIONS
from bastide.parts.sim.campaign import run_twice


@pytest.mark.parametrize("seed", [1, 5])
@pytest.mark.parametrize("simulation", SIMULATIONS, ids=lambda one: one.name)
def test_a_seed_holds_and_replays(simulation, seed):
    outcome = run_twice(simulation, seed)
    if outcome.error is not None:
        raise outcome.error
