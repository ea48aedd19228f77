"""What one partition knows of its producers: whose batch is next, and which transactions are open.

**Idempotence.** A producer numbers its records in each partition, and sends a batch again until it
is answered. Of each producer the last five batches are kept, as many as a client has under way:

    seen   [12-15] [16-16] [17-20] [21-30] [31-31]        next is 32; behind 2^31 - 1 comes 0
    comes  16-16   a repeat: answered as it was, not appended
           32-40   appended
           else    OUT_OF_ORDER_SEQUENCE_NUMBER; the producer sends what is missing, or gives up

An epoch tells two instances of one producer: an older one is refused, a newer begins at 0. Of a
producer that is not known any first sequence is taken. It may have been forgotten here, or its
records dropped; who asks for the first to be 0 stops producers that did nothing wrong.

**Transactions.** A transaction's records lie among all others from the first on, and a marker of
the producer ends it. The last stable offset is where the earliest open one begins: a reader of what
is committed gets nothing from there on. It is told which transactions were aborted in what it gets,
and drops their records itself:

    offset   0  1  2  3  4  5  6  7  8
             a  b  a  b  c  A  b  c  C         A: a's abort; C: c's commit
                ^ last stable: b is open       aborted: a, 0 to 5

The one that ends later may have begun earlier. So aborted ones are kept by marker, each with what
the last stable offset was behind it, which never falls. A search finds the first marker that is not
before what is read; and when one is reached behind which all that is read was stable, those that
follow began behind it.

Costs: a check and a note about a microsecond; a producer less than a kilobyte; an aborted
transaction 32 bytes for as long as its records are kept, and that is the one thing here without a
limit, since it may not be forgotten.

All of it follows from the batches in the log. `state` saves reading them all again: what `restored`
makes of it, told the batches since, is equal.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from bastide.engines.log.core.batches import SEQUENCES, Header
from bastide.engines.log.core.codes import Code

BATCHES_KEPT = 5
PRODUCERS_MAX = 10_000  # that are known; the longest silent is forgotten first
IDLE_MS = 24 * 3600 * 1000


class Verdict(Struct, frozen=True, gc=False):
    """What is to be done with a batch: appended; or answered with `code`; or, a repeat, answered
    with the offset `repeats` that it got.
    """

    code: Code = Code.NONE
    repeats: int | None = None

    @property
    def is_new(self) -> bool:
        return self.code == Code.NONE and self.repeats is None


NEW = Verdict()
OUT_OF_ORDER = Verdict(Code.OUT_OF_ORDER_SEQUENCE_NUMBER)
OLD_EPOCH = Verdict(Code.INVALID_PRODUCER_EPOCH)
NOT_IN_TRANSACTION = Verdict(Code.INVALID_TXN_STATE)
TOO_MANY = Verdict(Code.REQUEST_TIMED_OUT)


class Aborted(Struct, frozen=True, gc=False):
    """What the producer appended to its transaction from `first_offset` on never happened;
    `last_offset` is the marker that says so.
    """

    producer_id: int
    first_offset: int
    last_offset: int


class Open(Struct, frozen=True, gc=False):
    """A transaction that nothing has ended in this partition."""

    producer_id: int
    producer_epoch: int
    first_offset: int


class Producer(Struct, array_like=True):
    """`batches`: first sequence, last sequence and base offset of the last ones; none after a
    marker of a newer epoch. `first_offset`: where its open transaction begins, or -1.
    """

    epoch: int
    last_ms: int
    first_offset: int = -1
    batches: list[tuple[int, int, int]] = []


class State(Struct, array_like=True):
    """Producers from the longest silent on, open transactions from the earliest on, and the columns
    of the aborted ones.
    """

    version: Literal[1]
    producers: list[tuple[int, Producer]]
    open: list[tuple[int, int]]
    aborted: tuple[list[int], list[int], list[int], list[int]]


class Producers:
    def __init__(self) -> None:
        self._known: dict[int, Producer] = {}  # the longest silent is first
        self._open: dict[int, int] = {}  # first offset by producer, the earliest is first
        self._ids, self._firsts, self._lasts, self._stables = _columns()

    def __len__(self) -> int:
        return len(self._known)

    # --- batches --------------------------------------------------------------------------------

    def check(self, header: Header) -> Verdict:
        """What is to be done with a client's batch. Nothing is kept: that is what `note` is for,
        before the next is checked.
        """
        if header.producer_id < 0:
            return NEW
        producer = self._known.get(header.producer_id)
        if producer is None:  # clients repeat TOO_MANY; by then a transaction has ended
            return NEW if len(self._open) < PRODUCERS_MAX else TOO_MANY
        if header.producer_epoch < producer.epoch:
            return OLD_EPOCH
        batches = producer.batches if header.producer_epoch == producer.epoch else []
        for first, last, offset in batches:
            if first == header.base_sequence and last == header.last_sequence:
                return Verdict(repeats=offset)
        before = batches[-1][1] if batches else -1
        if header.base_sequence != (before + 1) % SEQUENCES:
            return OUT_OF_ORDER
        if producer.first_offset >= 0 and not header.is_transactional:
            return NOT_IN_TRANSACTION
        return NEW

    def note(self, header: Header, *, base_offset: int, now_ms: int) -> None:
        """A client's batch is in the log, at `base_offset`. Nothing is checked again: what is in
        the log is so.
        """
        if header.producer_id < 0:
            return
        producer = self._touched(header.producer_id, header.producer_epoch, now_ms)
        producer.batches.append((header.base_sequence, header.last_sequence, base_offset))
        if len(producer.batches) > BATCHES_KEPT:
            del producer.batches[0]
        if header.is_transactional and producer.first_offset < 0:
            producer.first_offset = base_offset
            self._open[header.producer_id] = base_offset
        self._forget_beyond()

    def _touched(self, producer_id: int, epoch: int, now_ms: int) -> Producer:
        producer = self._known.pop(producer_id, None) or Producer(epoch, now_ms)
        if producer.epoch != epoch:
            producer.epoch = epoch
            producer.batches.clear()
        producer.last_ms = now_ms
        self._known[producer_id] = producer
        return producer

    def _forget_beyond(self) -> None:
        if len(self._known) <= PRODUCERS_MAX:
            return
        for producer_id, producer in self._known.items():
            if producer.first_offset < 0:
                del self._known[producer_id]
                return

    # --- transactions ---------------------------------------------------------------------------

    def note_marker(
        self, *, producer_id: int, producer_epoch: int, commit: bool, offset: int, now_ms: int
    ) -> None:
        """A marker is in the log, at `offset`. One of a newer epoch fences the older; one of an
        older epoch is a coordinator's that does not know how it went on, and ends nothing.
        """
        known = self._known.get(producer_id)
        if known is not None and producer_epoch < known.epoch:
            return
        producer = self._touched(producer_id, producer_epoch, now_ms)
        first, producer.first_offset = producer.first_offset, -1
        if self._open.pop(producer_id, None) is not None and not commit:
            self._ids.append(producer_id)
            self._firsts.append(first)
            self._lasts.append(offset)
            self._stables.append(self.last_stable_offset(offset + 1))
        self._forget_beyond()

    def last_stable_offset(self, next_offset: int) -> int:
        """Below it nothing is undecided; `next_offset` is where the log ends, or what of it may be
        read.
        """
        earliest = next(iter(self._open.values()), next_offset)
        return min(earliest, next_offset)

    def open(self) -> Sequence[Open]:
        """From the earliest on. One that its coordinator does not know is to be aborted: it would
        keep the partition from being read for good.
        """
        return [Open(id_, self._known[id_].epoch, first) for id_, first in self._open.items()]

    def aborted(self, from_offset: int, to_offset: int) -> Sequence[Aborted]:
        """Transactions that have records from `from_offset` up to `to_offset` (exclusive), which is
        not above the last stable offset, from the earliest on.
        """
        found = []
        for n in range(bisect_left(self._lasts, from_offset), len(self._lasts)):
            if self._firsts[n] < to_offset:
                found.append(Aborted(self._ids[n], self._firsts[n], self._lasts[n]))
            if self._stables[n] >= to_offset:
                break
        return sorted(found, key=lambda each: each.first_offset)

    # --- housekeeping ---------------------------------------------------------------------------

    def forget(self, *, first_offset: int, now_ms: int, idle_ms: int = IDLE_MS) -> None:
        """Producers that were silent for longer, unless in a transaction; and aborted transactions
        that end before the log begins, at `first_offset`.
        """
        for producer_id in list(self._idle(now_ms - idle_ms)):
            del self._known[producer_id]
        gone = bisect_left(self._lasts, first_offset)
        for column in (self._ids, self._firsts, self._lasts, self._stables):
            del column[:gone]

    def _idle(self, since_ms: int) -> Iterator[int]:
        for producer_id, producer in self._known.items():
            if producer.last_ms >= since_ms:
                return
            if producer.first_offset < 0:
                yield producer_id

    def state(self) -> bytes:
        columns = (self._ids, self._firsts, self._lasts, self._stables)
        ids, firsts, lasts, stables = (list(column) for column in columns)
        known, open_ = list(self._known.items()), list(self._open.items())
        return msgspec.msgpack.encode(State(1, known, open_, (ids, firsts, lasts, stables)))

    @classmethod
    def restored(cls, state: bytes) -> "Producers":
        """
        Raises:
            msgspec.DecodeError: this is no `state` of this version.
        """
        found = msgspec.msgpack.decode(state, type=State)
        self = cls()
        self._known, self._open = dict(found.producers), dict(found.open)
        self._ids, self._firsts, self._lasts, self._stables = (
            array("q", column) for column in found.aborted
        )
        return self


def _columns() -> Iterator["array[int]"]:
    return (array("q") for _ in range(4))
