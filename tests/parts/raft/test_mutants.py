"""The simulator finds bugs: a few mutants here, all of them by `python -m tools.raft_mutants`."""

import pytest
from msgspec.structs import replace

from bastide.parts.raft.core import raft
from tools.raft_mutants.campaign import Ran, campaign
from tools.raft_mutants.catalogue import MUTANTS
from tools.raft_mutants.page import line, page
from tools.raft_mutants.patch import Misfit, Mutant, core_with, patched

BY_NAME = {mutant.name: mutant for mutant in MUTANTS}
SAMPLE = (
    *("vote-said-before-sync", "vote-by-term-only", "half-a-quorum", "joint-by-old-half"),
    *("old-term-by-counting", "ack-before-sync", "stale-append-cuts", "read-index-too-low"),
)
SAMPLE_CPU_S_MAX = 20.0


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_mutant_still_fits_the_core(mutant: Mutant):
    text = patched(mutant)
    compile(text, mutant.module, "exec")
    assert mutant.meaning
    assert mutant.source


def test_there_are_sixty_and_each_has_a_name_of_its_own():
    assert len(BY_NAME) == len(MUTANTS) >= 60
    assert len({(m.module, m.old, m.new) for m in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("name", SAMPLE)
def test_the_simulator_kills(name: str):
    ran = campaign(core_with(BY_NAME[name]), first_seed=1, cpu_s_max=SAMPLE_CPU_S_MAX)
    assert ran.rule, line(name, ran)


def test_a_mutant_leaves_the_real_core_alone():
    before = raft.Raft
    assert core_with(MUTANTS[0]) is not before
    from bastide.parts.raft.core.raft import Raft as after  # noqa: N813 (the same class again)

    assert after is before


@pytest.mark.parametrize(
    "misfit",
    [replace(MUTANTS[0], old="no such text"), replace(MUTANTS[0], old="self")],
    ids=["not there", "there more than once"],
)
def test_a_mutant_whose_text_is_not_there_once_is_refused(misfit: Mutant):
    with pytest.raises(Misfit, match=misfit.name):
        patched(misfit)


def test_a_mutant_of_no_module_is_refused():
    with pytest.raises(Misfit, match="no module"):
        patched(replace(MUTANTS[0], module="nowhere"))


def test_the_page_has_a_line_for_each_and_names_survivors():
    killed = Ran("limits", "limits: n1", 7, 7, 1.5, 10.0, 100, 0)
    alive = Ran("", "", 9, 9, 60.0, 100.0, 1000, 3)
    mutants = MUTANTS[:2]
    text = page(
        alive,
        {mutants[0].name: killed, mutants[1].name: alive},
        mutants,
        minutes=1,
        python="3.11",
    )
    assert "1 of 2 bugs found" in text
    assert f"| {mutants[0].name} |" in text
    assert "**survived**" in text
    assert f"Survivors: `{mutants[1].name}`." in text
    assert "For 3 of these histories" in text
    assert "It broke no rule." in text
