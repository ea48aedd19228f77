"""The command. It ends with 1 if a mutant survived, or the core did not."""

import argparse
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from bastide.parts.raft.core.raft import Raft
from bastide.parts.raft.sim.group import run
from tools.raft_mutants.campaign import Ran, campaign
from tools.raft_mutants.catalogue import MUTANTS
from tools.raft_mutants.page import line, page
from tools.raft_mutants.patch import Mutant, core_with, patched

PAGE = Path(__file__).resolve().parents[2] / "docs/results/raft-mutants.md"
MINUTES = 2.0
CORE_SEED = 1_000_000
"""The core as it is begins so far behind a mutant: on seeds by which nobody has mended it."""


def main() -> int:
    words = _words()
    mutants = [mutant for mutant in MUTANTS if words.only in ("", mutant.name)]
    if not mutants:
        sys.exit(f"no mutant is called {words.only}")
    for mutant in mutants:
        patched(mutant)  # that all fit is known at once, not after an hour
    rans = {}
    for mutant in tqdm(mutants, unit="mutant", disable=None):
        rans[mutant.name] = ran = campaign(
            core_with(mutant), first_seed=words.first_seed, cpu_s_max=words.minutes * 60
        )
        tqdm.write(line(mutant.name, ran))
        if words.story and ran.rule:
            run(ran.seed, core_with(mutant), print)
            print(ran.message)
    alive = [name for name, ran in rans.items() if not ran.rule]
    print(
        f"{len(rans) - len(alive)} of {len(rans)} killed; survivors: {', '.join(alive) or 'none'}"
    )
    if words.only:
        return 1 if alive else 0
    core = campaign(Raft, first_seed=words.first_seed + CORE_SEED - 1, cpu_s_max=words.minutes * 60)
    print(line("the core as it is", core), f"{core.undecided} undecided", core.message)
    if words.write:
        _write(core, rans, mutants, minutes=words.minutes)
    return 1 if alive or core.rule else 0


def _write(core: Ran, rans: dict[str, Ran], mutants: Sequence[Mutant], *, minutes: float) -> None:
    text = page(core, rans, mutants, minutes=minutes, python=platform.python_version())
    PAGE.write_text(text, encoding="utf-8")


def _words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.raft_mutants", description=__doc__)
    parser.add_argument("--only", default="", metavar="NAME")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of CPU time, for each")
    parser.add_argument("--first-seed", type=int, default=1, help="of each mutant")
    parser.add_argument("--write", action="store_true", help=f"keep the page {PAGE.name}")
    parser.add_argument("--story", action="store_true", help="tell what happened in a kill's seed")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
