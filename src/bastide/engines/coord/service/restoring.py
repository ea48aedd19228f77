"""A node of its own, made of a snapshot's file.

    FILE ──proven──► DATA/coord.coming: a log of one entry, and a snapshot in its place
                          └──renamed, once all is on the disk──► DATA/coord

Whatever is killed on the way leaves no half of a store. What is made is another group than the
snapshot was taken of: it has one member and a name of its own. Keys, their history, leases and
accounts are as they were, and revisions go on.
"""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from bastide.base.errors import Conflict
from bastide.base.rt import runtime
from bastide.base.rt.lock import FileLock, LockHeld
from bastide.base.work import Breath
from bastide.engines.coord.core.machine import Machine
from bastide.engines.coord.core.snapshots import Restoring, snapshot
from bastide.parts.raft.contract import Entry, Members, SnapshotMark, Vote
from bastide.parts.raft.storage.store import open_storage

SYSTEM = "coord"
COMING = "coord.coming"
ME = 1
TERM = 1
INDEX = 1
PIECE_BYTES = 1 << 20


class StoreThere(Conflict):
    """The directory has a store already, or a town runs on it."""


async def restore_store(file: Path, data: Path) -> int:
    """Makes DATA/coord of the snapshot in `file`; the revision that it is at.

    Raises:
        StoreThere, SnapshotDamaged. OSError: the file can't be read, or the disk refuses.
    """
    machine = await read_machine(pieces_of(file))
    lock = _locked(data)
    try:
        await _make(machine, data)
    finally:
        lock.release()
    return machine.store.revision


def _locked(data: Path) -> FileLock:
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        return FileLock(data / "lock")
    except LockHeld as error:
        raise StoreThere(f"{data} is in use by {error.holder}: stop it first") from error


def pieces_of(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while piece := opened.read(PIECE_BYTES):
            yield piece


async def read_machine(pieces: Iterable[bytes]) -> Machine:
    """What a snapshot holds, proven by its checksums.

    Raises:
        SnapshotDamaged
    """
    restoring, breath = Restoring(), Breath()
    for piece in pieces:
        restoring.feed(piece)
        await breath.taken()
    return restoring.finish()


async def _make(machine: Machine, data: Path) -> None:
    place, coming = data / SYSTEM, data / COMING
    if place.exists() and any(place.iterdir()):
        raise StoreThere(f"{place} has a store already; take another directory")
    if coming.exists():  # of one that was killed
        shutil.rmtree(coming)
    coming.mkdir(mode=0o700)
    machine.members.clear()
    machine.cluster = 0  # it is given a new one
    members = Members((ME,))
    async with open_storage(coming, members) as storage:
        begun = [Entry(INDEX, TERM, "empty", b"")]
        await storage.synced(storage.write(Vote(TERM), begun))
        await storage.keep_snapshot(SnapshotMark(INDEX, TERM, members), snapshot(machine))
        await storage.forget()
    disk = runtime.current().disk
    if place.exists():
        place.rmdir()
    disk.rename(coming, place)
    await disk.sync_directory(data)
