"""The command. It ends with 1 at the first violation, and says how to look at it."""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

from tqdm import tqdm

from bastide.base.errors import Refusal
from bastide.parts.histories.contract import Finding
from tools.coord_rounds import disks
from tools.coord_rounds.faults import FAULTS, Draw, Field, skipped
from tools.coord_rounds.group import FIRST, Group, NodeDied
from tools.coord_rounds.links import Links
from tools.coord_rounds.page import PAGE, Done, page, table
from tools.coord_rounds.round import LIVE_S, run_round
from tools.coord_rounds.verdict import Judged, Seen, judge, keep

SMALL = 3  # the node on a small disk
COMPLAINT = "Traceback (most recent call last)"


def main(given: Sequence[str] | None = None) -> int:
    words = _words(given)
    seed = words.seed or random.SystemRandom().randrange(1, 1 << 31)
    directory = Path(words.keep or tempfile.mkdtemp(prefix="coord-rounds-"))
    directory.mkdir(parents=True, exist_ok=True)
    done, failed = asyncio.run(_rounds(words, seed, directory))
    print(table(done))
    if failed:
        print(f"seed {seed}; look at {directory}")
        return 1
    if words.write:
        PAGE.write_text(page(done, seed=seed, round_s=words.round_s), encoding="utf-8")
    if not words.keep:
        shutil.rmtree(directory)
    return 0


async def _rounds(
    words: argparse.Namespace, seed: int, directory: Path
) -> tuple[Sequence[Done], bool]:
    """Up to the first in which something is found."""
    chance = random.Random(seed)  # noqa: S311 (faults, no secrets)
    done: list[Done] = []
    async with _running(directory) as (group, no_small_disk):
        left_out = skipped(no_small_disk)
        for each in left_out:
            print(f"left out: {each.fault}: {each.why}")
        names = [name for name in words.only or FAULTS if name not in [s.fault for s in left_out]]
        draw = Draw(names, chance)
        rounds = [[n] for n in names] if words.each else [draw.next() for _ in range(words.rounds)]
        with tqdm(total=len(rounds), unit="round", disable=None) as bar:
            for number, faults in enumerate(rounds, 1):
                bar.set_postfix_str(" ".join(faults))
                field = Field(group, chance, None if no_small_disk else group.nodes[SMALL])
                one = await _round(number, field, faults, words, directory)
                done.append(one)
                bar.update()
                if one.findings:
                    return done, True
    return done, False


async def _round(
    number: int, field: Field, faults: Sequence[str], words: argparse.Namespace, directory: Path
) -> Done:
    began_s = monotonic()
    kept = directory / f"round-{number}"
    try:
        seen = await run_round(number, field, faults, words.round_s)
        judged = await asyncio.to_thread(judge, seen, live_s=LIVE_S)
    except (Refusal, NodeDied, TimeoutError, AssertionError, OSError) as error:
        return _broken(number, faults, Finding(type(error).__name__, str(error)), field, began_s)
    if judged.findings:
        _tell(number, judged, kept)
        keep(seen, judged, kept)
    return _done(number, faults, seen, judged, monotonic() - began_s)


def _broken(
    number: int, faults: Sequence[str], finding: Finding, field: Field, began_s: float
) -> Done:
    tqdm.write(f"round {number} ({', '.join(faults)}): {finding.name}: {finding.message}")
    tqdm.write("\n".join(field.story))
    return Done(number, tuple(faults), 0, 0, 0, 0, (finding,), 0, monotonic() - began_s)


def _done(number: int, faults: Sequence[str], seen: Seen, judged: Judged, seconds: float) -> Done:
    told = sum(len(response.changes) for watch in seen.watches for response in watch.responses)
    return Done(
        number,
        tuple(faults),
        seen.operations,
        seen.unknown,
        told,
        len(seen.grants),
        tuple(judged.findings),
        judged.undecided,
        seconds,
    )


def _tell(number: int, judged: Judged, kept: Path) -> None:
    for finding in judged.findings[:10]:
        tqdm.write(f"round {number}: {finding.name}: {finding.message[:500]}")
    tqdm.write(f"what clients saw: {kept}; open {kept}/registers.svg, read {kept}/story.txt")


@asynccontextmanager
async def _running(directory: Path) -> AsyncIterator[tuple[Group, str]]:
    """Three nodes, and why none has a small disk, if so."""
    links = Links()
    group = Group(directory, links)
    small = directory / "small"
    why = disks.mount_small(small)
    try:
        for number in FIRST:
            await group.add(number, small / "node" if number == SMALL and not why else None)
        for node in group.members:
            group.start(node)
        for node in group.members:
            await group.ready(node)
        yield group, why
    finally:
        group.stop()
        await links.close()
        if not why:
            shutil.copytree(small / "node", directory / f"node{SMALL}", dirs_exist_ok=True)
            disks.unmount(small)


def _words(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.coord_rounds", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--each", action="store_true", help="a round for each fault, alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--round-s", type=float, default=10.0)
    parser.add_argument("--keep", default="", metavar="DIR", help="where all is kept")
    parser.add_argument("--only", type=_faults, default=(), metavar="FAULT,...")
    parser.add_argument("--write", action="store_true", help=f"keep the page {PAGE.name}")
    return parser.parse_args(given)


def _faults(named: str) -> Sequence[str]:
    names = named.split(",")
    for name in names:
        if name not in FAULTS:
            raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(FAULTS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
