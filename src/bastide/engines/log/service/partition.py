"""One partition: batches in a seglog, and what its producers are up to.

    append ──check──► stamp ──► seglog ──written──► Kafka's clients are woken
                                   └────synced────► acks=all is answered, the town's readers woken

The systems of the town read only what is durable: they keep offsets elsewhere, and one that a power
cut has taken would be given to another record. So while one of them listens, all is synced soon.

What is known of producers follows from the batches. It is noted in the journal now and then, so
that opening reads only what came behind the note.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import msgspec

from bastide.base.errors import Unavailable
from bastide.base.rt import runtime
from bastide.engines.log.contract import OffsetAhead, OffsetGone
from bastide.engines.log.core.batches import Header, entries_of, header_of, marker_of, stamped
from bastide.engines.log.core.producers import Aborted, Producers
from bastide.engines.log.service.bell import Bell
from bastide.engines.log.service.journal import Journal
from bastide.parts.seglog.contract import Options
from bastide.parts.seglog.core import Batch
from bastide.parts.seglog.mending import MendingLog, open_mending

LEADER_EPOCH = 0
NOTE_EVERY_BYTES = 64 << 20
REPLAY_BYTES = 1 << 20


class Noted(msgspec.Struct, frozen=True, array_like=True):
    """What was known of producers below `offset`; and the first offset that is not deleted."""

    offset: int = 0
    producers: bytes = b""
    low: int = 0


class Stretch(msgspec.Struct, frozen=True):
    """What a reader gets. `next`: where it goes on; `aborted` only for who reads what is
    committed.
    """

    batches: Sequence[bytes]
    aborted: Sequence[Aborted] = ()


class Partition:
    """`begin` must come first."""

    producers: Producers

    def __init__(self, topic: str, number: int, mending: MendingLog, journal: Journal) -> None:
        self.topic = topic
        self.number = number
        self._mending = mending
        self._log = mending.log
        self._journal = journal
        self._key = ("partition", topic, number)
        self._low = 0
        self._unnoted_bytes = 0
        self._written = Bell(self._reach_written)
        self._synced = Bell(self._reach_synced)

    @property
    def first(self) -> int:
        """The first offset that is kept."""
        return max(self._low, self._log.first_offset)

    @property
    def next(self) -> int:
        """Behind the last that can be read."""
        return self._log.written_offset

    def durable(self) -> int:
        """Behind the last that can be read and that no power cut takes. What is not yet so will be
        soon: it is asked for here.
        """
        if self._log.durable_offset < self._log.next_offset:
            self._synced.ring_soon()
        return self._log.durable_offset

    @property
    def unwritten(self) -> int:
        """Behind the last that was appended."""
        return self._log.next_offset

    @property
    def stable(self) -> int:
        """All below is decided."""
        return self.producers.last_stable_offset(self.next)

    @property
    def size(self) -> int:
        return self._log.size

    # --- appending ------------------------------------------------------------------------------

    def append(self, batch: bytes, header: Header) -> int:
        """Takes a batch that was checked, and returns the offset of its first record.

        Raises:
            Unavailable, Limited: see `Seglog.append`.
        """
        base = self._log.next_offset
        payload = stamped(batch, base_offset=base, leader_epoch=LEADER_EPOCH)
        self._log.append_opaque(payload, offset_count=header.offset_count)
        now_ms = runtime.now_ms()
        self.producers.note(header, base_offset=base, now_ms=now_ms)
        self._appended(len(payload))
        return base

    def append_marker(self, batch: bytes) -> int:
        """The end of a transaction; returns its offset."""
        base = self._log.next_offset
        payload = stamped(batch, base_offset=base, leader_epoch=LEADER_EPOCH)
        self._log.append_opaque(payload, offset_count=1)
        _note_marker(self.producers, payload, base)
        self._appended(len(payload))
        return base

    async def written(self, offset: int) -> None:
        await self._log.written(offset)

    async def synced(self, offset: int) -> None:
        await self._log.synced(offset)

    def _appended(self, size: int) -> None:
        self._unnoted_bytes += size
        if self._unnoted_bytes > NOTE_EVERY_BYTES:
            self._note()
        self._written.appended()
        self._synced.appended()

    def _note(self) -> int:
        """What is known now, in the journal."""
        self._unnoted_bytes = 0
        noted = Noted(self._log.next_offset, self.producers.state(), self._low)
        return self._journal.put(self._key, noted)

    # --- reading --------------------------------------------------------------------------------

    def read(
        self,
        offset: int,
        *,
        bytes_max: int,
        committed: bool,
        durable: bool = False,
        strictly: bool = False,
    ) -> Stretch:
        """Whole batches from the one that holds `offset` on: one at least if there is one, but if
        `strictly` none that is too large. `durable`: only what is, which may end before `offset`.

        Raises:
            OffsetGone, OffsetAhead. Unavailable: the disk refuses, or is damaged.
        """
        if offset < self.first:
            raise OffsetGone(offset, self.first)
        if offset > self.next:
            raise OffsetAhead(offset, self.next)
        end = self._end(committed=committed, durable=durable)
        if offset >= end:
            return Stretch(())
        found = self._log.read(offset, bytes_max=bytes_max)
        batches = [one.payload for one in found if one.base_offset < end]
        if strictly and batches and len(batches[0]) > bytes_max:
            return Stretch(())
        if not committed or not batches:
            return Stretch(batches)
        until = min(end, found[len(batches) - 1].next_offset)
        return Stretch(batches, self.producers.aborted(offset, until))

    def _end(self, *, committed: bool, durable: bool) -> int:
        end = self.stable if committed else self.next
        return min(end, self.durable()) if durable else end

    async def news(self, offset: int, *, committed: bool, durable: bool = False) -> None:
        """Returns when there may be something to read at `offset`."""
        if self._end(committed=committed, durable=durable) > offset:
            return
        bell = self._synced if durable else self._written
        if self._log.next_offset > self._log.written_offset:
            bell.ring_soon()
        await bell.listen()

    async def _reach_written(self) -> None:
        await self._log.written(self._log.next_offset - 1)

    async def _reach_synced(self) -> None:
        await self._log.synced(self._log.next_offset - 1)

    async def newest(self) -> tuple[int, int] | None:
        """Offset and stamp of the first record of the newest time; None: there is none."""
        newest_ms, offset = -1, self.first
        while offset < self.next:
            found = self._log.read(offset, bytes_max=REPLAY_BYTES)
            newest_ms = max(newest_ms, *(header_of(b.payload).max_ms for b in found if b.payload))
            offset = found[-1].next_offset
            await asyncio.sleep(0)
        return None if newest_ms < 0 else await self.place_at(newest_ms)

    async def place_at(self, stamp_ms: int) -> tuple[int, int] | None:
        """Offset and stamp of the first record of that time or later; None: there is none."""
        offset = self.first
        while offset < self.next:
            found = self._log.read(offset, bytes_max=REPLAY_BYTES)
            for batch in found:
                if header_of(batch.payload).max_ms < stamp_ms:
                    continue
                for at, stamped_ms, _ in entries_of(batch.payload, from_offset=offset):
                    if stamped_ms >= stamp_ms:
                        return at, stamped_ms
            offset = found[-1].next_offset
            await asyncio.sleep(0)
        return None

    # --- keeping --------------------------------------------------------------------------------

    async def trim(self, *, bytes_max: int | None, stamped_before_ms: int | None) -> None:
        await self._log.trim(bytes_max=bytes_max, stamped_before_ms=stamped_before_ms)
        self.producers.forget(first_offset=self.first, now_ms=runtime.now_ms())

    async def delete_below(self, offset: int) -> None:
        """
        Raises:
            OffsetAhead
        """
        if offset > self.next:
            raise OffsetAhead(offset, self.next)
        self._low = max(self._low, offset)
        await self._journal.kept(self._note())
        await self._log.trim(below_offset=self._low)

    def rest(self) -> None:
        """Notes what is known, before it is closed."""
        if self._unnoted_bytes and not self._mending.has_failed:
            with suppress(Unavailable):  # the next opening reads a little more
                self._note()

    async def begin(self) -> None:
        """Finds what its producers are up to: what was noted, and what came behind."""
        log, noted = self._mending.log, self._journal.get(self._key, Noted) or Noted()
        if noted.offset > log.next_offset:  # a power cut took what was noted, and was not synced
            noted = Noted(low=min(noted.low, log.next_offset))
        producers = Producers.restored(noted.producers) if noted.producers else Producers()
        offset = max(noted.offset, log.first_offset)
        while offset < log.written_offset:
            found = log.read(offset, bytes_max=REPLAY_BYTES)
            for batch in found:
                _note_batch(producers, batch)
            offset = found[-1].next_offset
            await asyncio.sleep(0)
        self._log, self.producers, self._low = log, producers, noted.low

    async def mend(self) -> bool:
        """Opens it again if its log has failed, and says so. Meanwhile it refuses.

        Raises:
            Unavailable
        """
        if not await self._mending.mend():
            return False
        await self.begin()
        return True


def _note_batch(producers: Producers, batch: Batch) -> None:
    if not batch.payload:  # compacted away
        return
    header = header_of(batch.payload)
    if header.is_control:
        _note_marker(producers, batch.payload, batch.base_offset)
    else:
        producers.note(header, base_offset=batch.base_offset, now_ms=batch.last_ms)


def _note_marker(producers: Producers, payload: bytes, offset: int) -> None:
    marker = marker_of(payload)
    producers.note_marker(
        producer_id=marker.producer_id,
        producer_epoch=marker.producer_epoch,
        commit=marker.commit,
        offset=offset,
        now_ms=runtime.now_ms(),
    )


async def open_partition(
    stack: AsyncExitStack,
    directory: Path,
    topic: str,
    number: int,
    journal: Journal,
    options: Options,
) -> Partition:
    """Closed with `stack`.

    Raises:
        SegmentDamaged: acknowledged records are damaged.
    """
    mending = await stack.enter_async_context(open_mending(directory, options))
    partition = Partition(topic, number, mending, journal)
    await partition.begin()
    stack.callback(partition.rest)
    return partition
