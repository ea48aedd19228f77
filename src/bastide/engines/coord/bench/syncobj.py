"""A process of PySyncObj: python -m ...syncobj NUMBER DIRECTORY CLIENTS PORT PORT PORT

Its journal is a file that is mapped into memory. It is synced here whenever something was written
to it, as the others' logs are, before the entry is counted: PySyncObj itself never syncs it.
For each line of standard input, a number of seconds, it puts for as long, CLIENTS at a time, and
prints how many came through a second.
"""

import queue
import sys
from pathlib import Path
from typing import Any

from bastide.base.manifest import load
from bastide.base.rt import runtime
from bastide.parts.http.bench.servers import HOST

VALUE_BYTES = 256
KEYS = 1_000
READY_S = 20.0


def _store(number: int, directory: Path, ports: list[str]) -> tuple[Any, Any]:
    """The object that replicates, and its dictionary."""
    journal: Any = load("pysyncobj.journal:FileJournal")
    add = journal.add

    def add_synced(self: Any, *words: Any) -> None:
        add(self, *words)
        self.flush()

    journal.add = add_synced
    addresses = [f"{HOST}:{port}" for port in ports]
    conf = load("pysyncobj:SyncObjConf")(
        journalFile=str(directory / f"syncobj-{number}"),
        raftMinTimeout=1.0,
        raftMaxTimeout=2.0,
        connectionTimeout=3.5,
        commandsQueueSize=100_000,
    )
    held = load("pysyncobj.batteries:ReplDict")()
    others = [address for address in addresses if address != addresses[number]]
    made = load("pysyncobj:SyncObj")(addresses[number], others, conf, consumers=[held])
    return made, held


def _rate(held: Any, clients: int, seconds: float) -> float:
    done: queue.SimpleQueue[bool] = queue.SimpleQueue()
    value, count, sent = "x" * VALUE_BYTES, 0, 0

    def ended(_: object, error: int) -> None:
        done.put(not error)

    began_s = runtime.monotonic()
    for sent in range(clients):
        held.set(f"bench/{sent:06}", value, callback=ended)
    while runtime.monotonic() < began_s + seconds:
        count += done.get(timeout=READY_S)
        sent += 1
        held.set(f"bench/{sent % KEYS:06}", value, callback=ended)
    return count / (runtime.monotonic() - began_s)


def main() -> None:
    number, directory, clients, *ports = sys.argv[1:]
    made, held = _store(int(number), Path(directory), ports)
    made.waitReady()
    for line in sys.stdin:
        print(_rate(held, int(clients), float(line)), flush=True)


if __name__ == "__main__":
    main()
