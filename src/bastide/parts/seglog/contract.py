"""What a caller of the log gives and gets: options, limits, reports, errors.

Refusal
 ├── Invalid
 │    ├── RecordTooLarge   413: a record, or the records of one append, above the limit
 │    └── OptionInvalid    an option outside its range
 ├── Gone
 │    └── OffsetGone       trimmed away; `first` is the first that is kept
 ├── NotFound
 │    └── OffsetAhead      not written yet; `next` is where the log ends
 ├── Limited
 │    └── BufferFull       more is appended in one tick than the buffer takes
 └── Unavailable
      ├── DiskFull         refused now; taken again by itself once there is room
      ├── LogBusy          no file can be opened now; tried again by itself
      ├── LogFailed        a write or a sync failed: close and open again
      ├── LogClosed
      └── SegmentDamaged   acknowledged bytes are not as they were written
"""

import msgspec

from bastide.base.errors import Gone, Invalid, Limited, NotFound, TooLarge, Unavailable

RECORD_BYTES_MAX = 1 << 20
"""Key and value of one record together."""
BATCH_BYTES_MAX = 8 << 20
"""The payload of one batch: all records of one append, or one opaque payload."""
BATCH_OFFSETS_MAX = 1 << 20
"""Offsets that one batch may cover."""
SEGMENT_BYTES_MIN = 1 << 10
SEGMENT_BYTES_MAX = 1 << 30
BUFFERED_BYTES_MAX = 1 << 30


class RecordTooLarge(TooLarge):
    """`bytes_given` of `bytes_max` that are taken."""

    def __init__(self, what: str, bytes_given: int, bytes_max: int) -> None:
        super().__init__(
            f"{what} of {bytes_given} bytes; at most {bytes_max} are taken",
            bytes_given=bytes_given,
            bytes_max=bytes_max,
        )


class OptionInvalid(Invalid):
    pass


class OffsetGone(Gone):
    def __init__(self, offset: int, first: int) -> None:
        super().__init__(f"offset {offset} is gone; the first kept is {first}", first=first)
        self.first = first


class OffsetAhead(NotFound):
    def __init__(self, offset: int, next_offset: int) -> None:
        super().__init__(f"offset {offset} is ahead of the end at {next_offset}", next=next_offset)
        self.next = next_offset


class BufferFull(Limited):
    pass


class DiskFull(Unavailable):
    pass


class LogBusy(Unavailable):
    """The system opens no more files: descriptors or memory are used up. Nothing was touched."""


class LogFailed(Unavailable):
    pass


class LogClosed(Unavailable):
    pass


class HousekeepingFailed(Unavailable):
    pass


class Damage(msgspec.Struct, frozen=True):
    """Bytes `first_byte` to `end_byte` (exclusive) of `file` are not as they were written.

    Offsets from `first_offset` to `resume_offset` (exclusive) can't be read; reading may go on
    there. The two are equal if only the log's own marks are hit.
    """

    file: str
    first_byte: int
    end_byte: int
    first_offset: int
    resume_offset: int


class SegmentDamaged(Unavailable):
    """Never repaired by dropping. Restore the file from a copy, or skip to `resume_offset`."""

    def __init__(self, damage: Damage) -> None:
        super().__init__(
            f"{damage.file} is damaged from byte {damage.first_byte} to {damage.end_byte}: "
            f"offsets {damage.first_offset} to {damage.resume_offset} (exclusive) can't be read"
        )
        self.facts = {**self.facts, **msgspec.structs.asdict(damage)}
        self.damage = damage


class Repair(msgspec.Struct, frozen=True):
    """What opening cut off: an unsynced write that a crash had torn. None of it was synced.

    `removed` are later files, which held only what was unsynced too.
    """

    file: str
    first_byte: int
    end_byte: int
    next_offset: int
    removed: tuple[str, ...] = ()


class Options(msgspec.Struct, frozen=True):
    """How a log is kept.

    `sync_within_s`: sync that long after a write even if nobody waits; None: only when asked.
    `segment_bytes`: a new file is begun before one grows above it (a single batch may be larger).
    `buffered_bytes_max`: what may wait for the end of the tick, or for room on the disk.
    """

    segment_bytes: int = 64 << 20
    sync_within_s: float | None = None
    buffered_bytes_max: int = 16 << 20

    def __post_init__(self) -> None:
        if not SEGMENT_BYTES_MIN <= self.segment_bytes <= SEGMENT_BYTES_MAX:
            raise OptionInvalid(
                f"segment_bytes is {self.segment_bytes}; "
                f"{SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX} are taken"
            )
        if not 0 < self.buffered_bytes_max <= BUFFERED_BYTES_MAX:
            raise OptionInvalid(
                f"buffered_bytes_max is {self.buffered_bytes_max}; "
                f"1 to {BUFFERED_BYTES_MAX} are taken"
            )
        if self.sync_within_s is not None and self.sync_within_s < 0:
            raise OptionInvalid(f"sync_within_s is {self.sync_within_s}; 0 or more is taken")


class Slice(msgspec.Struct, frozen=True):
    """Whole stored batches, for `os.sendfile(out, fileno, position, count)`.

    Batches lie as `core` draws them, with the log's marks between; a receiver walks them with
    `core.decode`. A slice of one batch holds its bare payload behind `core.HEADER_BYTES`.
    """

    fileno: int
    position: int
    count: int
    next_offset: int
