"""Real processes on one database, stopped, killed, their clocks set: no id twice."""

import os
import signal
import subprocess
import sys
from array import array
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from bastide.base.rt import runtime
from bastide.base.rt.runtime import Chance

PROCESSES = 3
FAULTS = max(4, int(os.environ.get("BASTIDE_TEST_ROUNDS", "0")) // 100)
IDS_BETWEEN_FAULTS = 2_000
PATIENCE_S = 60
SCRIPT = Path(__file__).with_name("minting_process.py")


class Minting:
    """One process at a time, and what all that were killed have written."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.files: list[Path] = []
        self._directory = directory
        self._said = directory / f"{seed}.err"
        self._seed = seed

    def start(self) -> None:
        self.files.append(self._directory / f"{self._seed}-{len(self.files)}.ids")
        seed = str(self._seed * 1000 + len(self.files))
        command = [sys.executable, *map(str, (SCRIPT, self._directory, self.files[-1])), seed]
        with self._said.open("ab") as said:
            self._process = subprocess.Popen(command, stderr=said)

    def send(self, what: signal.Signals) -> None:
        self._process.send_signal(what)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def written(self) -> int:
        """How many ids the process that runs now has."""
        with suppress(FileNotFoundError):
            return self.files[-1].stat().st_size // 8
        return 0

    def reaches(self, count: int, patience_s: float = PATIENCE_S) -> bool:
        """Whether it has made `count` ids, when that was waited for."""
        deadline_s = runtime.monotonic() + patience_s
        while self.written() < count and runtime.monotonic() < deadline_s:
            assert self._process.poll() is None, self._said.read_text()
        return self.written() >= count


@pytest.fixture
def mintings(tmp_path: Path) -> Iterator[list[Minting]]:
    found = [Minting(tmp_path, number) for number in range(PROCESSES)]
    for minting in found:
        minting.start()
    yield found
    for minting in found:
        minting.kill()


@pytest.mark.shows("ids.restart")
@pytest.mark.box("ids.no-duplicate-in-processes")
def test_processes_that_are_stopped_and_killed_and_share_a_worker_id_repeat_no_id(
    mintings: list[Minting],
) -> None:
    """All are told to be worker 1, so that each take-over robs a live holder: only the fence is
    between them.
    """
    seed = Chance().random.randrange(1 << 32)
    print(f"seed {seed}")
    random = Chance(seed).random
    for minting in mintings:
        assert minting.reaches(1)
    for _ in range(FAULTS):
        hit, *others = random.sample(mintings, PROCESSES)
        if random.random() < 0.5:
            hit.send(signal.SIGSTOP)  # perhaps inside a commit: then nobody's fence moves
            for other in others:
                other.reaches(other.written() + IDS_BETWEEN_FAULTS, patience_s=0.5)
            hit.send(signal.SIGCONT)
        else:
            hit.kill()
            assert all(other.reaches(other.written() + IDS_BETWEEN_FAULTS) for other in others)
            hit.start()
            assert hit.reaches(1)
    for minting in mintings:
        minting.kill()
    made = [written(file) for minting in mintings for file in minting.files]
    assert all(a < b for ids in made for a, b in pairwise(ids))
    assert sum(map(len, made)) == len(set().union(*made))
    assert len(made) >= PROCESSES


def written(file: Path) -> "array[int]":
    """All but an id that was cut by the kill."""
    content = file.read_bytes()
    return array("q", content[: len(content) // 8 * 8])
