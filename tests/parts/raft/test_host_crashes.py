"""kill -9 at every place between what comes in and what is answered: of one node, and of three."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts.raft.host_kit import Cluster

ROOT = Path(__file__).parents[3]
PROGRAM = Path(__file__).with_name("host_dies.py")
POINT = re.compile(r'faults\.point\("([^"]+)"\)')
ALONE = {  # at which of its hits the process dies
    "raft.before_write": (1, 2, 3, 30),
    "raft.after_write": (1, 2, 3, 30),
    "raft.after_sync": (1, 2, 3, 30),
    "raft.before_apply": (1, 2, 30),
    "raft.after_apply": (1, 2, 30),
    "raft.snapshot_written": (1, 3),
    "raft.snapshot_synced": (1, 3),
    "raft.snapshot_renamed": (1, 3),
    "raft.before_mark": (1, 3),
    "raft.after_mark": (1, 3),
    "raft.trimmed": (1, 3),
    "seglog.before_sync": (1, 2, 40),
}
OF_THREE = {
    "raft.before_send": (150,),
    "raft.after_send": (151,),
    "raft.received": (200,),
    "raft.chunk_written": (1, 3),
    "raft.before_install": (1,),
    "raft.snapshot_synced": (4,),
    "raft.after_install": (1,),
    "raft.after_sync": (100,),
}
CASES = [f"1:{point}:{hit}" for point, hits in ALONE.items() for hit in hits]
CASES_OF_THREE = [f"3:{point}:{hit}" for point, hits in OF_THREE.items() for hit in hits]


def test_every_place_is_died_at():
    sources = (ROOT / "src/bastide/parts/raft").rglob("*.py")
    points = {point for path in sources for point in POINT.findall(path.read_text())}
    assert points == {point for point in {**ALONE, **OF_THREE} if point.startswith("raft.")}


@pytest.fixture(scope="module")
def died(tmp_path_factory):
    """Where each case has left its files."""
    root = tmp_path_factory.mktemp("died")
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "src")))}
    words = [sys.executable, str(PROGRAM), str(root), *CASES, *CASES_OF_THREE]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr[-3000:]
    codes = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    alive = [case for case, code in codes.items() if int(code) != -signal.SIGKILL]
    assert alive == [], done.stderr[-3000:]
    return root


@pytest.mark.box("raft.crash")
@pytest.mark.parametrize("case", CASES + CASES_OF_THREE)
async def test_nothing_acknowledged_is_lost_and_nothing_is_out_of_order(died, case):
    acked = [line.encode() for line in (died / case / "acked").read_text().split()]
    cluster = Cluster(died / case, tuple(range(1, int(case[0]) + 1)))
    try:
        await cluster.start()
        await cluster.led()
        await cluster.propose(b"after")
        seen = list(dict.fromkeys(await cluster.agreed()))
    finally:
        await cluster.stop()
    assert seen[: len(acked)] == acked
    assert seen[-1] == b"after"
    # The one that was on its way may be there too.
    assert [int(payload) for payload in seen[:-1]] == list(range(len(seen) - 1))
    assert len(seen) - 1 - len(acked) <= 1
    leftover = [path.name for path in (died / case).rglob("*.coming")]
    assert leftover == []
