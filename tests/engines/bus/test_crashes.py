"""kill -9 at every await between the row, the relay, the handler and the offset."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines.bus.kit import QUICK, check_street, quiet, street
from tests.engines.bus.street.ledger import manifest as ledger

ROOT = Path(__file__).parents[3]
PROGRAM = Path(__file__).with_name("dies.py")
POINT = re.compile(r'faults\.point\("([^"]+)"\)')
HITS = {  # at which of its hits the process dies
    "bus.published": (1, 12),
    "bus.fetched": (1, 6),
    "bus.numbered": (1, 4),
    "bus.made": (1, 5),
    "bus.appended": (1, 4),
    "bus.dropped": (1, 4),
    "bus.read": (1, 3),
    "bus.claimed": (1, 3),
    "bus.drained": (1, 3),
    "bus.kept": (1, 3),
    "bus.polled": (1, 6),
    "bus.placed": (1, 5),
    "bus.called": (1, 5),
    "bus.moved": (1, 6),
    "bus.handled": (1, 6),
    "bus.committed": (1, 6),
    "bus.rung": (1, 4),
    "bus.told": (1, 3),
    "bus.buried": (1, 2),
    "sql.before_commit": (9, 25),
    "sql.after_commit": (10, 26),
    "seglog.before_create": (2,),
    "seglog.after_create": (2,),
    "seglog.before_write": (30,),
    "seglog.after_write": (31,),
    "seglog.before_sync": (12,),
    "seglog.before_directory_sync": (2,),
    "seglog.after_sync": (13,),
    "seglog.trimmed": (1, 2),
}
UNCROSSED = {  # what lies in no event's way: topics of which only the newest of a key is kept
    "seglog.compaction_written",
    "seglog.compaction_synced",
    "seglog.compaction_renamed",
}
CASES = [(point, hit) for point, hits in HITS.items() for hit in hits]


def points_in(*folders):
    sources = (path for folder in folders for path in (ROOT / "src/bastide" / folder).rglob("*.py"))
    return {point for path in sources for point in POINT.findall(path.read_text())}


def killed(directory, environ, point, hit, *, first=0):
    """What a street said before it died at the `hit`-th time that it came to `point`."""
    environ = {
        **{k: v for k, v in os.environ.items() if not k.startswith("BASTIDE_")},
        **environ,
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "src"))),
    }
    words = [sys.executable, str(PROGRAM), str(directory), point, str(hit), str(first)]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=60)
    told = done.stdout.splitlines()
    assert f"died {point}" in told, f"{point} {hit}: {done.stderr[-2000:]}"
    assert done.returncode == -signal.SIGKILL
    return told


def sold_in(told):
    sales = (line.split(" ")[1:] for line in told if line.startswith("sold "))
    return [(item, int(number)) for item, number in sales]


def passed_in(told):
    return [line.split()[1] for line in told if line.startswith("passed ")]


async def check_after(directory, environ, told):
    async with street(directory, environ) as town:
        await quiet(town)
        return await check_street(town, acknowledged=sold_in(told), passed=passed_in(told))


@pytest.fixture(autouse=True)
def _gin_is_hated(monkeypatch):
    monkeypatch.setattr(ledger, "HATED", {"gin"})


def test_every_point_in_an_event_s_way_is_died_at():
    """A new point without a case fails here. Only those of the embedded engines are meant."""
    assert {p for p in HITS if p.startswith("bus.")} == points_in("engines/bus")
    assert {p for p in HITS if p.startswith("sql.")} == points_in("engines/sql/backends/sqlite")
    seglog = {p for p in HITS if p.startswith("seglog.")}
    assert seglog == points_in("parts/seglog") - UNCROSSED
    assert not points_in("engines/log"), "the log has points of its own: add them to HITS"


@pytest.mark.shows("bus.restart")
@pytest.mark.box("bus.crash")
@pytest.mark.box("bus.order")
@pytest.mark.box("bus.record")
@pytest.mark.parametrize(("point", "hit"), CASES, ids=lambda case: str(case))
async def test_each_event_has_its_effect_once_whatever_await_the_process_dies_at(
    tmp_path, durable, point, hit
):
    environ = {**durable, **QUICK}
    told = killed(tmp_path, environ, point, hit)
    await check_after(tmp_path, environ, told)


@pytest.mark.shows("bus.restart")
async def test_who_dies_again_and_again_loses_and_doubles_nothing(tmp_path, durable):
    environ = {**durable, **QUICK}
    told = []
    for n, point in enumerate(("bus.appended", "bus.claimed", "bus.handled", "bus.numbered")):
        told += killed(tmp_path, environ, point, 2, first=n * 1_000_000)
    assert sold_in(told)
    await check_after(tmp_path, environ, told)
