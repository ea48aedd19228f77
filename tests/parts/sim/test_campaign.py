"""`bastide sim`: what is run, what is printed, and how a failure comes back."""

import asyncio

import pytest

from bastide.base.errors import Invalid
from bastide.cli import main
from bastide.parts.sim.campaign import FAILURES_MAX, Plan, conduct, read_recording, run_twice
from bastide.parts.sim.contract import Differs
from bastide.parts.sim.nemesis import KINDS, Nemesis
from bastide.parts.sim.sim import SIMULATIONS, Register
from bastide.parts.sim.simulation import Simulation, run
from tests.parts.sim.sim_kit import ask_echo, echoing, simulated

REGISTER = SIMULATIONS[0]


async def sometimes(world):
    tape = world.draws.tape("numbers")
    drawn = [tape.integer("number", 0, 9) for _ in range(5)]
    await asyncio.sleep(1)
    assert 7 not in drawn, drawn


SOMETIMES = Simulation("sometimes", "no seven is drawn", sometimes)


def test_without_a_name_the_simulations_are_listed(capsys):
    assert main(["sim"]) == 0
    assert "register" in capsys.readouterr().out


def test_a_name_that_there_is_not_is_refused_with_those_that_there_are(capsys):
    assert main(["sim", "nothing"]) == 2
    assert "register" in capsys.readouterr().err


def test_the_command_runs_in_a_process_whose_hashes_are_fixed(capfd):
    with pytest.raises(SystemExit) as ended:
        main(["sim", "register", "--seed", "3", "--runs", "2", "--twice"])
    assert ended.value.code == 0
    assert "2 runs, 0 failed" in capfd.readouterr().out


def test_seeds_that_fail_are_told_with_the_command_that_replays_them(capsys):
    tally = conduct(SOMETIMES, Plan(runs=10))
    out = capsys.readouterr().out
    assert 0 < len(tally.failures) < 10
    for outcome in tally.failures:
        assert f"bastide sim sometimes --seed {outcome.recording.seed} --trace" in out
        assert run(SOMETIMES, outcome.recording.seed).failed
    assert f"10 runs, {len(tally.failures)} failed" in out


def test_a_failure_is_shrunk_into_a_file_and_replayed_from_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    seed = next(seed for seed in range(1, 20) if run(SOMETIMES, seed).failed)
    conduct(SOMETIMES, Plan(seed=seed, shrink=True))
    path = tmp_path / f"sometimes-{seed}.tape"
    assert f"bastide sim sometimes --tape {path.name}" in capsys.readouterr().out
    assert sum(read_recording(path).tapes["numbers"]) == 7
    assert conduct(SOMETIMES, Plan(tape=path)).failures
    assert f"--tape {path} --trace" in capsys.readouterr().out


def test_a_file_that_is_no_tape_is_refused(tmp_path):
    (tmp_path / "a").write_text("no")
    with pytest.raises(Invalid):
        read_recording(tmp_path / "a")


def test_a_trace_says_when_where_and_what(capsys):
    conduct(REGISTER, Plan(trace=True))
    lines = capsys.readouterr().out.splitlines()
    assert any(" keeper " in line and "start 1" in line for line in lines)
    assert any("fault: " in line for line in lines)
    assert any("bytes of" in line for line in lines)
    assert any("[nemesis]" in line and "kind: " in line for line in lines)


def test_minutes_are_kept_and_failures_end_a_campaign():
    assert conduct(SOMETIMES, Plan(minutes=0.001)).runs >= 1
    assert len(conduct(SOMETIMES, Plan(runs=1_000)).failures) == FAILURES_MAX


def test_two_runs_that_differ_are_told_by_their_first_difference():
    ran = []

    async def differs(world):
        ran.append(1)
        world.note(f"run {len(ran)}")

    outcome = run_twice(Simulation("differs", "two runs are one", differs), 1)
    assert isinstance(outcome.error, Differs)
    assert "event 0" in str(outcome.error) or "run " in str(outcome.error)


def test_the_register_keeps_its_word():
    tally = conduct(REGISTER, Plan(runs=20))
    assert not tally.failures
    assert tally.points["register.before_sync"] > 100
    assert set(tally.faults) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_fault_strikes_and_is_healed(kind):
    async def work(world):
        nodes = [echoing(world, name) for name in "abc"]
        nemesis = Nemesis(world, nodes, kinds=[kind])
        nemesis.kinds = [kind]
        await nemesis.torment(for_s=30)
        assert world.struck[kind] > 3
        await asyncio.sleep(60)
        for node in nodes:
            assert node.alive
            assert not node.paused
            assert node.disk.room_bytes is None
            for other in "abc":
                assert await node.call(ask_echo, other) == b"hello\n"

    simulated(work)


def test_each_seed_has_a_mixture_of_its_own():
    mixtures = set()

    async def work(world):
        nemesis = Nemesis(world, [echoing(world)])
        mixtures.add((*nemesis.kinds, world.net.weather.latency_s))

    for seed in range(10):
        simulated(work, seed)
    assert len(mixtures) == 10


async def raise_without_sync(self, wanted):
    self._file.write([wanted.to_bytes(8, "big")], at=0)
    self._number = wanted


async def raise_before_sync(self, wanted):
    self._number = wanted
    self._file.write([wanted.to_bytes(8, "big")], at=0)
    await self._file.sync()


@pytest.mark.parametrize("mutant", [raise_without_sync, raise_before_sync])
def test_a_register_that_breaks_its_word_is_caught(mutant, monkeypatch):
    monkeypatch.setattr(Register, "_raise_to", mutant)
    assert any(run(REGISTER, seed).failed for seed in range(100))
