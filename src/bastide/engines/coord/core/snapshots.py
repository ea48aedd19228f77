"""A machine as bytes, and a machine from bytes.

    | size, crc | head | size, crc | leases | ... base | ... | changes | ... | size, crc | tail |
                  '-- head, base, ...: frames in MessagePack, told apart by their tag

`base` is what was there at the compacted revision, by key; `changes` are those of each revision
since, in their order. Both are read from what is never altered (core/store.py), so the store goes
on changing while a snapshot of it is taken, and the snapshot is what it was at the beginning:
nothing is copied but the list of leases. Two machines in one state have equal snapshots, byte by
byte, whatever they have forgotten by now: which is how `digest` compares them.

Each frame stands behind its size and the CRC32C of it and all before it; the tail says that nothing
is missing. A frame is about PIECE_BYTES, or one revision, so that nobody holds the loop for long;
the bytes may be cut anywhere on their way.
"""

import struct
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import chain

import google_crc32c
import msgspec

from bastide.base.errors import Invalid
from bastide.engines.coord.contract import NO_LEASE, Item, Range
from bastide.engines.coord.core.commands import Announce
from bastide.engines.coord.core.machine import Machine
from bastide.engines.coord.core.store import Changes, Store, first_logged

FORMAT = 1
PIECE_ITEMS = 500
PIECE_BYTES = 256 << 10
PIECE_LEASES = 5_000
FRAME_BYTES_MAX = 1 << 30
_FRONT = struct.Struct("<II")  # size, CRC

_Row = tuple[bytes, bytes, int, int, int, int]
"""An Item: key, value, created, changed, version, lease."""


class SnapshotDamaged(Invalid):
    """It is cut, or altered, or none of this kind."""


class _Head(msgspec.Struct, array_like=True, tag="head", frozen=True):
    format: int
    revision: int
    compacted: int
    space_bytes_max: int
    alarms: list[tuple[int, str]]
    cluster: int
    members: list[tuple[int, str, str, str]]


class _Leases(msgspec.Struct, array_like=True, tag="leases", frozen=True):
    leases: list[tuple[int, int]]


class _Base(msgspec.Struct, array_like=True, tag="base", frozen=True):
    rows: list[_Row]


class _Changes(msgspec.Struct, array_like=True, tag="changes", frozen=True):
    """Whole revisions, without a gap."""

    revisions: list[list[_Row]]


class _Tail(msgspec.Struct, array_like=True, tag="tail", frozen=True):
    frames: int


_Frame = _Head | _Leases | _Base | _Changes | _Tail
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Frame)


def snapshot(machine: Machine) -> Iterator[bytes]:
    """The machine as it is when the first piece is taken. To be closed if it is not read to the
    end: until then nothing is forgotten.
    """
    crc = frames = 0
    with machine.store.held():
        for frame in _frames(machine):
            body = _encoder.encode(frame)
            crc, frames = google_crc32c.extend(crc, body), frames + 1
            yield _FRONT.pack(len(body), crc) + body
    tail = _encoder.encode(_Tail(frames))
    yield _FRONT.pack(len(tail), google_crc32c.extend(crc, tail)) + tail


def _frames(machine: Machine) -> Iterator[_Frame]:
    store = machine.store
    revision, compacted = store.revision, store.compacted
    leases = sorted((id_, machine.leases.ttl_s(id_)) for id_ in machine.leases)
    yield _Head(
        format=FORMAT,
        revision=revision,
        compacted=compacted,
        space_bytes_max=machine.space_bytes_max,
        alarms=sorted(machine.alarms),
        cluster=machine.cluster,
        members=[msgspec.structs.astuple(machine.members[n]) for n in sorted(machine.members)],
    )
    for n in range(0, len(leases), PIECE_LEASES):
        yield _Leases(leases[n : n + PIECE_LEASES])
    for piece in _pieces([item] for item in store.base(compacted)):
        yield _Base([row for (row,) in piece])
    for piece in _pieces(_changes(store, compacted, revision)):
        yield _Changes(piece)
    yield _Changes([])


def _changes(store: Store, compacted: int, revision: int) -> Iterator[Changes]:
    return (store.changes_at(n) for n in range(first_logged(compacted), revision + 1))


def _pieces(units: Iterable[Changes]) -> Iterator[list[list[_Row]]]:
    """Several units in one, up to PIECE_ITEMS or PIECE_BYTES."""
    piece: list[list[_Row]] = []
    size = count = 0
    for items in units:
        piece.append(_rows(items))
        count += len(items)
        size += sum(len(item.value) for item in items)
        if size >= PIECE_BYTES or count >= PIECE_ITEMS:
            yield piece
            piece, size, count = [], 0, 0
    if piece:
        yield piece


def _rows(items: Changes) -> list[_Row]:
    return [(i.key, i.value, i.created, i.changed, i.version, i.lease) for i in items]


class Restoring:
    """A machine in the making: `feed` it a snapshot's bytes, then `finish`."""

    def __init__(self) -> None:
        self._machine = Machine()
        self._head: _Head | None = None
        self._tail: _Tail | None = None
        self._crc = self._frames = 0
        self._bytes = bytearray()
        self._is_ordered = False

    def feed(self, piece: bytes) -> None:
        """The next bytes, however they were cut.

        Raises:
            SnapshotDamaged
        """
        self._bytes += piece
        at, end = 0, len(self._bytes)
        while end - at >= _FRONT.size:
            size, crc = _FRONT.unpack_from(self._bytes, at)
            if size > FRAME_BYTES_MAX:
                raise SnapshotDamaged(f"a snapshot with a frame of {size} bytes")
            if end - at < _FRONT.size + size:
                break
            at += _FRONT.size
            self._take(bytes(memoryview(self._bytes)[at : at + size]), crc)
            at += size
        del self._bytes[:at]

    def _take(self, body: bytes, crc: int) -> None:
        self._crc = google_crc32c.extend(self._crc, body)
        if self._crc != crc:
            raise SnapshotDamaged(f"frame {self._frames} of a snapshot has a wrong checksum")
        try:
            frame: _Frame = _decoder.decode(body)
        except msgspec.MsgspecError as error:
            raise SnapshotDamaged(f"a frame of a snapshot can't be read: {error}") from error
        if self._tail is not None or isinstance(frame, _Head) != (self._head is None):
            raise SnapshotDamaged("a snapshot begins with one head and ends with one tail")
        if isinstance(frame, _Tail):
            self._tail = frame
        else:
            self._frames += 1
            self._restore(frame)

    def _restore(self, frame: _Head | _Leases | _Base | _Changes) -> None:
        machine = self._machine
        match frame:
            case _Head():
                if frame.format != FORMAT:
                    told = f"a snapshot of format {frame.format}"
                    raise SnapshotDamaged(f"{told}; this program reads {FORMAT}")
                self._head = frame
                machine.space_bytes_max = frame.space_bytes_max
                machine.alarms = set(frame.alarms)
                machine.cluster = frame.cluster
                machine.members = {row[0]: Announce(*row) for row in frame.members}
            case _Leases():
                for id_, ttl_s in frame.leases:
                    machine.leases.grant(id_, ttl_s)
            case _Base():
                items = [Item(*row) for row in frame.rows]
                self._lease(items)
                machine.store.restore_base(items)
            case _Changes():
                self._restore_changes(frame)

    def _restore_changes(self, frame: _Changes) -> None:
        assert self._head is not None
        store = self._machine.store
        if not self._is_ordered:
            store.restore_order(self._head.compacted)
            self._is_ordered = True
        for rows in frame.revisions:
            items = [Item(*row) for row in rows]
            self._lease(items)
            store.restore_changes(items)

    def _lease(self, items: Changes) -> None:
        """Before they are restored. Leases of long ago are no more."""
        leases = self._machine.leases
        for item in items:
            before = self._machine.store.get(item.key)
            old = before.lease if before is not None else NO_LEASE
            leases.move(
                item.key,
                old=old if old in leases else NO_LEASE,
                new=item.lease if item.lease in leases else NO_LEASE,
            )

    def finish(self) -> Machine:
        """
        Raises:
            SnapshotDamaged
        """
        head, tail, revision = self._head, self._tail, self._machine.store.revision
        if head is None or tail is None or self._bytes:
            raise SnapshotDamaged("a snapshot that is cut")
        if tail.frames != self._frames or revision != head.revision:
            raise SnapshotDamaged("a snapshot of which a part is missing")
        return self._machine


def restore(pieces: Iterable[bytes]) -> Machine:
    """All at once.

    Raises:
        SnapshotDamaged
    """
    restoring = Restoring()
    for piece in pieces:
        restoring.feed(piece)
    return restoring.finish()


def digest(machine: Machine) -> bytes:
    """Of all of the state: equal for machines that were given the same commands."""
    sum_ = blake2b(digest_size=16)
    for piece in snapshot(machine):
        sum_.update(piece)
    return sum_.digest()


def hashes(store: Store, revision: int) -> Iterator[int]:
    """Of the keys and their changes up to `revision` (0: the newest), from the compacted one on; in
    pieces, between which the store may change. The last one told is the hash: a CRC32C.

    Raises:
        RevisionAhead, RevisionCompacted.
    """
    store.check(Range(b"\0", revision=revision))
    crc, compacted, revision = 0, store.compacted, revision or store.revision
    with store.held():
        yield crc
        units = ([item] for item in store.base(compacted))
        for piece in _pieces(chain(units, _changes(store, compacted, revision))):
            rows = b"".join(_encoder.encode(row) for unit in piece for row in unit)
            crc = google_crc32c.extend(crc, rows)
            yield crc
