"""The coordinator of one transactional id: what was begun, how it ends, and who may say so.

Idea: two-phase commit, with a log for a vote. The outcome is one durable word of the coordinator's,
`prepare`; from then on the transaction has ended so, whoever dies. Markers carry it to the
partitions afterwards, as often as needed.

                add              end(commit)              marked
      empty ─────────► ongoing ─────────► prepare_commit ────────► complete_commit ──┐
        ▲                 │ end(abort)                   marked                      │ add: ongoing
        │                 └─────────────► prepare_abort ─────────► complete_abort ───┤
        │ init              time-out, init: with the epoch raised                    │ init: empty
        └────────────────────────────────────────────────────────────────────────────┘

**What is durable before what.** A verb moves the machine at once and returns a Decision. Who calls

  1. makes `state` durable, if there is one;
  2. gives the answer: the code, or the producer id and epoch;
  3. has the `markers` written, if there are any, and their partitions synced;
  4. tells `marked`, and makes the `state` it returns durable, whenever it likes.

One event after the other: the next is given when the state of the one before is durable; if it
can't be made so, the machine is `restored` from the last that was. A crash before 1 has undone the
event, and nobody was told of it. A crash after 1 is what `restored` and `owed` are for: the markers
are written again, where they may be already; a partition that has no open transaction of this
producer ignores them. Between 2 and 4 all that clients want is answered with
CONCURRENT_TRANSACTIONS: they ask again.

**Who may say so.** An instance of a producer is its id and epoch. A new one raises the epoch, which
fences the older: here at once, in the partitions by the markers. What the older left open is
aborted first, in the name of the raised epoch, so that its records can't follow the marker; the new
instance asks again meanwhile, and gets an epoch higher still. An instance that has lost count of
its sequences may have its own epoch raised (KIP-360): it says which it has; asked again, since an
answer was lost, it gets the same. Epochs end at 32767. From one below on, the id is replaced by a
new one: the last is left for a fence.

**The flaw that stays.** An epoch lasts for many transactions, so a record that was sent in one and
comes late, after its end, can't be told from one of the next. `check_append` refuses it while its
partition is in no open transaction: so none is begun there that nobody would end. But if the next
transaction has the partition too, and the late batch is the next that the partition expects, it is
taken into that one: aborted by its producer, and committed. KIP-890 closes this with an epoch for
each transaction, in a later version of the protocol that clients have to speak.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from bastide.engines.log.core.codes import Code

TRANSACTIONAL_ID_BYTES_MAX = 255
TIMEOUT_MS_MAX = 15 * 60 * 1000
TRANSACTION_PARTITIONS_MAX = 2_000  # of one transaction; each addition writes all of them
TRANSACTION_GROUPS_MAX = 100
EPOCH_MAX = 32767
GIVEN_EPOCH_MAX = EPOCH_MAX - 1
"""No instance gets a higher one: it could not be fenced."""

Place = tuple[str, int]  # topic and partition


class Phase(StrEnum):
    """As Kafka calls them to who lists transactions."""

    EMPTY = "Empty"
    ONGOING = "Ongoing"
    PREPARE_COMMIT = "PrepareCommit"
    PREPARE_ABORT = "PrepareAbort"
    COMPLETE_COMMIT = "CompleteCommit"
    COMPLETE_ABORT = "CompleteAbort"


PREPARED = (Phase.PREPARE_COMMIT, Phase.PREPARE_ABORT)


class Instance(NamedTuple):
    """One life of a producer."""

    producer_id: int
    epoch: int


NOBODY = Instance(-1, -1)


class Markers(Struct, frozen=True):
    """What is to be written to each of `partitions`, and told to each of `groups` whose offsets the
    transaction commits. `number`: of the transaction, among those of its id.
    """

    number: int
    commit: bool
    producer: Instance
    partitions: Sequence[Place]
    groups: Sequence[str]


class Decision(Struct, frozen=True):
    """`producer` is set in the answer to `init` alone."""

    code: Code = Code.NONE
    producer: Instance = NOBODY
    state: bytes | None = None
    markers: Markers | None = None


class State(Struct, array_like=True):
    """`producer` may act; `before` is whom it follows, if that one asked for it itself. `number`
    counts transactions that have ended.
    """

    version: Literal[1] = 1
    phase: Phase = Phase.EMPTY
    producer: Instance = NOBODY
    before: Instance = NOBODY
    timeout_ms: int = 0
    number: int = 0
    partitions: set[Place] = set()
    groups: set[str] = set()


def check_id(transactional_id: str) -> Code:
    """INVALID_REQUEST: it is empty, or too long."""
    if 0 < len(transactional_id.encode()) <= TRANSACTIONAL_ID_BYTES_MAX:
        return Code.NONE
    return Code.INVALID_REQUEST


class Transaction:
    """`now_ms` is of a clock that only goes forward."""

    def __init__(self) -> None:
        self._state = State()
        self._began_ms = 0

    @property
    def phase(self) -> Phase:
        return self._state.phase

    @property
    def producer(self) -> Instance:
        """Who may act."""
        return self._state.producer

    @property
    def partitions(self) -> Sequence[Place]:
        return sorted(self._state.partitions)

    @property
    def due_ms(self) -> int | None:
        """When `time_out` is to be called; None: nothing is under way."""
        if self.phase != Phase.ONGOING:
            return None
        return self._began_ms + self._state.timeout_ms

    # --- a producer begins ----------------------------------------------------------------------

    def init(self, *, fresh_id: int, timeout_ms: int, instance: Instance = NOBODY) -> Decision:
        """The producer that may act from now on. `instance`, of who asks for itself, is what it has
        been; NOBODY: it is new. `fresh_id` is a producer id that nobody has; it is used if the
        decision has it.

        Codes: INVALID_TRANSACTION_TIMEOUT, PRODUCER_FENCED, CONCURRENT_TRANSACTIONS.
        """
        state = self._state
        if not 0 < timeout_ms <= TIMEOUT_MS_MAX:
            return Decision(Code.INVALID_TRANSACTION_TIMEOUT)
        if not self._may_init(instance):
            return Decision(Code.PRODUCER_FENCED)
        if state.phase in PREPARED:
            return Decision(Code.CONCURRENT_TRANSACTIONS)
        if state.phase == Phase.ONGOING:
            return self._fenced(Code.CONCURRENT_TRANSACTIONS, before=instance)
        again = instance != NOBODY and instance == state.before
        if not again or state.producer.epoch > GIVEN_EPOCH_MAX:
            state.producer = _raised(state.producer, fresh_id)
            state.before = instance
        state.phase, state.timeout_ms = Phase.EMPTY, timeout_ms
        return Decision(producer=state.producer, state=self.state())

    def _may_init(self, instance: Instance) -> bool:
        known = (NOBODY, self._state.producer, self._state.before)
        return self._state.producer == NOBODY or instance in known

    def _fenced(self, code: Code, *, before: Instance) -> Decision:
        state = self._state
        state.producer = Instance(state.producer.producer_id, state.producer.epoch + 1)
        state.before = before
        return self._prepared(code, commit=False)

    # --- a transaction --------------------------------------------------------------------------

    def add_partitions(
        self, instance: Instance, partitions: Iterable[Place], *, now_ms: int
    ) -> Decision:
        """These are about to be appended to.

        Codes: INVALID_PRODUCER_ID_MAPPING, PRODUCER_FENCED, CONCURRENT_TRANSACTIONS,
        INVALID_PARTITIONS (too many).
        """
        return self._add(instance, set(partitions), set(), now_ms)

    def add_group(self, instance: Instance, group: str, *, now_ms: int) -> Decision:
        """This group's offsets are about to be committed. Codes: as for partitions."""
        return self._add(instance, set(), {group}, now_ms)

    def _add(
        self, instance: Instance, partitions: set[Place], groups: set[str], now_ms: int
    ) -> Decision:
        state = self._state
        if (code := self._check_instance(instance)) != Code.NONE:
            return Decision(code)
        if state.phase in PREPARED:
            return Decision(Code.CONCURRENT_TRANSACTIONS)
        if partitions <= state.partitions and groups <= state.groups:
            return Decision()
        all_, all_groups = state.partitions | partitions, state.groups | groups
        if len(all_) > TRANSACTION_PARTITIONS_MAX or len(all_groups) > TRANSACTION_GROUPS_MAX:
            return Decision(Code.INVALID_PARTITIONS)
        if state.phase != Phase.ONGOING:
            state.phase, self._began_ms = Phase.ONGOING, now_ms
            state.before = NOBODY  # the present one has its answer: nobody asks for it again
        state.partitions, state.groups = all_, all_groups
        return Decision(state=self.state())

    def end(self, instance: Instance, *, commit: bool) -> Decision:
        """Codes: INVALID_PRODUCER_ID_MAPPING, PRODUCER_FENCED, INVALID_TXN_STATE,
        CONCURRENT_TRANSACTIONS: it ends so already, ask again.
        """
        if (code := self._check_instance(instance)) != Code.NONE:
            return Decision(code)
        if self.phase == Phase.ONGOING:
            return self._prepared(Code.NONE, commit=commit)
        if self.phase == (Phase.PREPARE_COMMIT if commit else Phase.PREPARE_ABORT):
            return Decision(Code.CONCURRENT_TRANSACTIONS)
        if self.phase == (Phase.COMPLETE_COMMIT if commit else Phase.COMPLETE_ABORT):
            return Decision()
        return Decision(Code.INVALID_TXN_STATE)

    def time_out(self, *, now_ms: int) -> Decision:
        """Aborts what is due, and fences its producer; else does nothing."""
        if self.due_ms is None or now_ms < self.due_ms:
            return Decision()
        return self._fenced(Code.NONE, before=self.producer)

    def _prepared(self, code: Code, *, commit: bool) -> Decision:
        self._state.phase = Phase.PREPARE_COMMIT if commit else Phase.PREPARE_ABORT
        return Decision(code, state=self.state(), markers=self.owed())

    def owed(self) -> Markers | None:
        """What is decided and not `marked`: also after a restart."""
        state = self._state
        if state.phase not in PREPARED:
            return None
        commit = state.phase == Phase.PREPARE_COMMIT
        partitions, groups = sorted(state.partitions), sorted(state.groups)
        return Markers(state.number, commit, state.producer, partitions, groups)

    def marked(self, markers: Markers) -> Decision:
        """They are durable, all of them. Told twice, or late, it does nothing."""
        state = self._state
        if state.phase not in PREPARED or markers.number != state.number:
            return Decision()
        state.phase = Phase.COMPLETE_COMMIT if markers.commit else Phase.COMPLETE_ABORT
        state.number += 1
        state.partitions, state.groups = set(), set()
        return Decision(state=self.state())

    # --- what may be appended -------------------------------------------------------------------

    def check_append(self, instance: Instance, place: Place) -> Code:
        """Whether a transactional batch for that partition may be appended, now: there must be no
        await between this and the append, or an end may pass.

        Codes: INVALID_PRODUCER_ID_MAPPING, INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE.
        """
        return self._check_open(instance, is_in=place in self._state.partitions)

    def check_offsets(self, instance: Instance, group: str) -> Code:
        """The same, of offsets that are committed in the transaction."""
        return self._check_open(instance, is_in=group in self._state.groups)

    def _check_open(self, instance: Instance, *, is_in: bool) -> Code:
        code = self._check_instance(instance)
        if code == Code.PRODUCER_FENCED:
            return Code.INVALID_PRODUCER_EPOCH  # what a partition says of it
        if code == Code.NONE and not (is_in and self.phase == Phase.ONGOING):
            return Code.INVALID_TXN_STATE
        return code

    def _check_instance(self, instance: Instance) -> Code:
        mine = self._state.producer
        if instance.producer_id != mine.producer_id or mine == NOBODY:
            return Code.INVALID_PRODUCER_ID_MAPPING
        if instance.epoch != mine.epoch or mine.epoch > GIVEN_EPOCH_MAX:
            return Code.PRODUCER_FENCED
        return Code.NONE

    # --- restarts -------------------------------------------------------------------------------

    def state(self) -> bytes:
        return msgspec.msgpack.encode(self._state, order="deterministic")

    @classmethod
    def restored(cls, state: bytes, *, now_ms: int) -> "Transaction":
        """As it was; what is under way has its whole time-out anew. See `owed`.

        Raises:
            msgspec.DecodeError: this is no `state` of this version.
        """
        self = cls()
        self._state = msgspec.msgpack.decode(state, type=State)
        self._began_ms = now_ms
        return self


def _raised(producer: Instance, fresh_id: int) -> Instance:
    if producer == NOBODY or producer.epoch >= GIVEN_EPOCH_MAX:
        return Instance(fresh_id, 0)
    return Instance(producer.producer_id, producer.epoch + 1)
