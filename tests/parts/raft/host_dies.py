"""Run by test_host_crashes: for each `nodes:point:nth`, a child uses a group until it dies there by
kill -9, with all of its nodes.
"""

import asyncio
import os
import sys
from pathlib import Path

from bastide.base import faults
from bastide.parts.raft.contract import Options
from bastide.parts.raft.host.machine import Keeping
from tests.parts.raft.host_kit import Cluster

OPTIONS = {
    "keeping": Keeping(snapshot_entries=15),
    "options": Options(election_s=0.1, heartbeat_s=0.02, kept_behind=0, chunk_bytes=100),
}


async def use(place: Path, nodes: int, point: str, nth: int) -> None:
    hits = 0

    def happens() -> None:
        nonlocal hits
        hits += 1
        if hits == nth:
            faults.crashing()()

    cluster = Cluster(place, tuple(range(1, nodes + 1)))
    cluster.faults[point] = happens
    acked = os.open(place / "acked", os.O_WRONLY | os.O_CREAT)

    async def propose(first: int, end: int) -> None:
        for n in range(first, end):
            await cluster.propose(b"%d" % n)
            os.write(acked, b"%d\n" % n)

    await cluster.start(**OPTIONS)
    leader = await cluster.led()
    await propose(0, 10)
    away = next((n for n in cluster.running if n is not leader), None)
    if away:
        await away.stop()
    await propose(10, 60)
    if away:
        await away.start(**OPTIONS)
        await cluster.agreed()
    await propose(60, 80)
    await cluster.stop()


def main() -> None:
    root = Path(sys.argv[1])
    for argument in sys.argv[2:]:
        nodes, point, nth = argument.split(":")
        place = root / argument
        place.mkdir()
        child = os.fork()
        if child == 0:
            asyncio.run(use(place, int(nodes), point, int(nth)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(argument, os.waitstatus_to_exitcode(status), flush=True)


main()
