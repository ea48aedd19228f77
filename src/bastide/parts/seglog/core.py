"""The log's format: batches that prove themselves, and marks that tell a torn write from damage.

A log is a directory of segments. A segment is a file named by its first offset and by a random
salt, `00000000000000000000-89abcdef.segment`, and is a row of batches and nothing else:

    0     4       8      12       16     24       32      36      40       48       56
    | crc | magic | salt | length | base | synced | count | flags | first  | last   | payload
    | u32 | BSG1  | u32  | u32    | u64  | u64    | u32   | u32   | i64 ms | i64 ms | `length` bytes
          '------------------- the CRC32C covers all of this, to the end --------------------'

The batch covers the offsets base to base + count. Invariant: a batch's base is where the one
before it ended, across segments too and after compaction too (what was dropped is still covered),
so a lost batch is missed. Little-endian. A payload is opaque, unless its flag RECORDS says that it
is our record codec:

    | n u32 | n offset deltas u32 | n key lengths u32 | n value lengths u32 | keys | values |

Columns, because one `struct.pack` and one `b"".join` write them, whatever n is. A length of NONE
says there is no key, or no value (a tombstone).

**Torn or damaged?** A write that a crash has torn must be cut off; a flipped bit in what was
acknowledged must never be. Both look like "the CRC is wrong". So every write ends with a mark:

    [batch][batch][mark]  [batch][mark]  [mark]  [batch][mar
                                         |       '- torn: nothing valid follows, cut
                                         '- after each sync: "all below `synced` is on the disk"

A mark is a batch without offsets and payload. It proves that the write before it was whole; its
`first` and `last` are the stamps of the whole segment so far. So, for a bad place at offset X:

 1. X is below a `synced` that any valid batch names: damage, whatever else is there.
 2. Nothing valid follows in the log: torn, cut.
 3. Something valid follows, unsynced: a crash of the process can't do that, for it writes in order.
    A power cut can; it loses whole sectors, and a lost one reads as zeros. If the bad place holds
    such a sector: torn, cut. Else: damage.

Guarantees, while damage hits one place (a bit, or a range that does not reach the log's end):

  acknowledged as  | process killed                       | power cut
  written          | there, or damage is told             | may be lost, always a suffix of the log
  synced           | there, or damage is told             | there, or damage is told, except 4.

 4. The mark after the last sync before a power cut may not be on the disk yet. Damage to just that
    last group can't be told from a torn write: it is cut, and the cut is reported as a repair. The
    same holds in rule 3 for damage to written but unsynced batches whose own bytes hold a sector of
    zeros. Nothing inside a file can tell that a disk threw its end away after a sync.

The salt is what `magic` alone can't be: a batch of another log that was stored here as a payload,
or a dead file's blocks, are never taken for ours. SQLite's WAL salts its frames for that reason.

A segment that is full ends with a seal: a mark whose payload is the sparse index and, in the last
four bytes, the seal's own length, so that it is found from the end of the file.
"""

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

import google_crc32c
import msgspec

MAGIC = b"BSG1"
_HEADER = struct.Struct("<I4sIIQQIIqq")
_AFTER_CRC = struct.Struct("<4sIIQQIIqq")
_CRC = struct.Struct("<I")
_ALONE = struct.Struct("<4sIIQQIIqq4I")  # what follows a CRC, and the columns of one record
_COLUMNS_BYTES = _ALONE.size - _AFTER_CRC.size
_SALTED_MAGIC = struct.Struct("<4sI")
HEADER_BYTES = _HEADER.size
assert HEADER_BYTES == 56

RECORDS = 1
SEAL = 2
NONE = 0xFFFFFFFF
SECTOR_BYTES = 512
INDEX_EVERY_BYTES = 32 << 10
SEAL_TAIL_BYTES = 4


class Record(msgspec.Struct, frozen=True, gc=False):
    """`value` None is a tombstone: with its key, it says that the key is gone."""

    value: bytes | None
    key: bytes | None = None


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A record at its place. `stamp_ms` is when its batch was written; stamps never fall."""

    offset: int
    stamp_ms: int
    key: bytes | None
    value: bytes | None


class Batch(msgspec.Struct, frozen=True, gc=False):
    """One decoded batch. `payload` is opaque unless `flags & RECORDS`: then `entries` reads it."""

    payload: bytes
    base_offset: int
    synced_offset: int
    offset_count: int
    flags: int
    first_ms: int
    last_ms: int

    @property
    def next_offset(self) -> int:
        return self.base_offset + self.offset_count

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return HEADER_BYTES + len(self.payload)


class Head(msgspec.Struct, frozen=True, gc=False):
    """A header whose magic and salt fit and whose CRC was not looked at."""

    size: int
    base_offset: int
    offset_count: int


# --- batches ------------------------------------------------------------------------------------


def encode(batch: Batch, *, salt: int) -> bytes:
    """The header of `batch`, to be written right before its payload."""
    rest = _AFTER_CRC.pack(
        MAGIC,
        salt,
        len(batch.payload),
        batch.base_offset,
        batch.synced_offset,
        batch.offset_count,
        batch.flags,
        batch.first_ms,
        batch.last_ms,
    )
    crc: int = google_crc32c.value(rest)
    if batch.payload:
        crc = google_crc32c.extend(crc, batch.payload)
    return _CRC.pack(crc) + rest


def alone(
    value: bytes, *, salt: int, offset: int, synced_offset: int, first_ms: int, ms: int
) -> bytes:
    """A whole write of one record without a key: what `encode` and `Columns` make of a batch and
    its mark, in a third of their time. `first_ms` is the mark's.
    """
    size = len(value)
    length = _COLUMNS_BYTES + size
    batch = _ALONE.pack(
        MAGIC, salt, length, offset, synced_offset, 1, RECORDS, ms, ms, 1, 0, NONE, size
    )
    batch += value
    end = _AFTER_CRC.pack(MAGIC, salt, 0, offset + 1, synced_offset, 0, 0, first_ms, ms)
    crc, end_crc = google_crc32c.value(batch), google_crc32c.value(end)
    return _CRC.pack(crc) + batch + _CRC.pack(end_crc) + end


ALONE_BYTES = _ALONE.size + 2 * _CRC.size + _AFTER_CRC.size
"""How much longer a write of one record is than its value."""


def mark(*, next_offset: int, synced_offset: int, first_ms: int, last_ms: int) -> Batch:
    return Batch(b"", next_offset, synced_offset, 0, 0, first_ms, last_ms)


def head(buffer: bytes, at: int, *, salt: int) -> Head | None:
    """The unproven header at byte `at`; None if it is none of this segment, or not whole."""
    if len(buffer) - at < HEADER_BYTES:
        return None
    found = _HEADER.unpack_from(buffer, at)
    if found[1] != MAGIC or found[2] != salt:
        return None
    return Head(HEADER_BYTES + found[3], found[4], found[6])


def decode(buffer: bytes, at: int, *, salt: int) -> Batch | None:
    """The batch at byte `at`; None if it is not whole, not of this segment, or its CRC is wrong."""
    if len(buffer) - at < HEADER_BYTES:
        return None
    crc, magic, its_salt, payload_bytes, base, synced, count, flags, first_ms, last_ms = (
        _HEADER.unpack_from(buffer, at)
    )
    end = at + HEADER_BYTES + payload_bytes
    if magic != MAGIC or its_salt != salt or end > len(buffer):
        return None
    if google_crc32c.value(buffer[at + _CRC.size : end]) != crc:
        return None
    return Batch(buffer[at + HEADER_BYTES : end], base, synced, count, flags, first_ms, last_ms)


def candidates(buffer: bytes, *, salt: int) -> Iterator[int]:
    """Each place in `buffer` at which a batch of this segment may begin."""
    wanted = _SALTED_MAGIC.pack(MAGIC, salt)
    at = buffer.find(wanted)
    while at >= 0:
        if at >= _CRC.size:
            yield at - _CRC.size
        at = buffer.find(wanted, at + 1)


def has_lost_sector(bad: bytes, *, position: int) -> bool:
    """Whether `bad`, which begins at byte `position` of its file, holds a sector of zeros.

    The piece before the first boundary counts too, if it would hold a CRC and a magic: less than
    that can be zero by chance.
    """
    start = 0
    end = SECTOR_BYTES - position % SECTOR_BYTES
    while start < len(bad):
        piece = bad[start:end]
        if len(piece) >= _CRC.size + len(MAGIC) and not any(piece):
            return True
        start, end = end, end + SECTOR_BYTES
    return False


# --- records ------------------------------------------------------------------------------------


class Columns:
    """Records as they will lie in a payload. Lengths are looked up once: it is the hot path."""

    def __init__(self) -> None:
        self.keys: list[bytes | None] = []
        self.values: list[bytes | None] = []
        self.key_bytes: list[int] = []
        self.value_bytes: list[int] = []

    @classmethod
    def of(cls, records: Sequence[Record]) -> "Columns":
        self = cls()
        self.keys = keys = [record.key for record in records]
        self.values = values = [record.value for record in records]
        self.value_bytes = [NONE if value is None else len(value) for value in values]
        if keys.count(None) == len(keys):
            self.key_bytes = [NONE] * len(keys)
        else:
            self.key_bytes = [NONE if key is None else len(key) for key in keys]
        return self

    def __len__(self) -> int:
        return len(self.values)

    @property
    def payload_bytes(self) -> int:
        return 4 + 12 * len(self) + _sum(self.key_bytes) + _sum(self.value_bytes)

    def add(self, more: "Columns") -> None:
        self.keys += more.keys
        self.values += more.values
        self.key_bytes += more.key_bytes
        self.value_bytes += more.value_bytes

    def payload(self, deltas: Sequence[int] | None = None) -> bytes:
        """`deltas` are the offsets less the batch's base; without them: 0, 1, 2, ..."""
        count = len(self)
        rows = range(count) if deltas is None else deltas
        table = struct.pack(f"<{1 + 3 * count}I", count, *rows, *self.key_bytes, *self.value_bytes)
        return b"".join([table, *filter(None, self.keys), *filter(None, self.values)])


def _sum(lengths: Sequence[int]) -> int:
    return sum(lengths) - NONE * lengths.count(NONE)


EMPTY_PAYLOAD = Columns().payload()


def entries(batch: Batch, first: int = 0) -> list[Entry]:
    """The records of `batch` from offset `first` on. An opaque batch has none to be read."""
    if not batch.flags & RECORDS:
        return []
    payload = batch.payload
    (count,) = _CRC.unpack_from(payload)
    table = struct.unpack_from(f"<{3 * count}I", payload, 4)
    key_at = 4 + 12 * count
    value_at = key_at + sum(size for size in table[count : 2 * count] if size != NONE)
    found = []
    rows = zip(table[:count], table[count : 2 * count], table[2 * count :], strict=True)
    for delta, key_bytes, value_bytes in rows:
        key = value = None
        if key_bytes != NONE:
            key = payload[key_at : key_at + key_bytes]
            key_at += key_bytes
        if value_bytes != NONE:
            value = payload[value_at : value_at + value_bytes]
            value_at += value_bytes
        if batch.base_offset + delta >= first:
            found.append(Entry(batch.base_offset + delta, batch.last_ms, key, value))
    return found


# --- the sparse index ---------------------------------------------------------------------------


class Index:
    """Where about every INDEX_EVERY_BYTES of a segment lie: three columns, each of them rising.

    Built by whoever writes or scans the segment. Never trusted: it says where to begin to walk, and
    the walk checks what it finds.
    """

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.positions: list[int] = []
        self.stamps_ms: list[int] = []

    def add(self, *, offset: int, position: int, stamp_ms: int) -> None:
        if not self.positions or position - self.positions[-1] >= INDEX_EVERY_BYTES:
            self.offsets.append(offset)
            self.positions.append(position)
            self.stamps_ms.append(stamp_ms)

    def place_of(self, offset: int) -> tuple[int, int] | None:
        """(offset, position) of the last indexed batch that begins at or before `offset`."""
        return self._row(bisect_right(self.offsets, offset) - 1)

    def place_before(self, stamp_ms: int) -> tuple[int, int] | None:
        """(offset, position) of an indexed batch before which all is older than `stamp_ms`."""
        return self._row(bisect_left(self.stamps_ms, stamp_ms) - 1)

    def _row(self, row: int) -> tuple[int, int] | None:
        return (self.offsets[row], self.positions[row]) if row >= 0 else None


def seal(index: Index, *, end: Batch) -> Batch:
    """The last batch of a full segment: `end`, a mark, with the index as its payload."""
    rows = len(index.offsets)
    columns = struct.pack(f"<{3 * rows}Q", *index.offsets, *index.positions, *index.stamps_ms)
    length = HEADER_BYTES + len(columns) + _CRC.size
    return msgspec.structs.replace(end, payload=columns + _CRC.pack(length), flags=SEAL)


def seal_bytes(tail: bytes) -> int:
    """The length of the seal that ends with `tail`, if there is one."""
    return int(_CRC.unpack_from(tail, len(tail) - _CRC.size)[0]) if len(tail) >= _CRC.size else 0


def unseal(batch: Batch) -> Index:
    index = Index()
    rows = len(batch.payload) // 24
    columns = struct.unpack_from(f"<{3 * rows}Q", batch.payload)
    index.offsets = list(columns[:rows])
    index.positions = list(columns[rows : 2 * rows])
    index.stamps_ms = list(columns[2 * rows :])
    return index
