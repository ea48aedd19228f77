"""One life of a node's group: from when its disk was opened until that fails or is closed.

    propose, read_index ──► (gathered) ──► turn ──► core ──► Ready
    messages, timer ────────────────────►   │                 ├─► send at once
                                            │                 ├─► write ─► synced ─► send the rest
                                            ▼                 ├─► apply ─► results, reads
                                        one a tick            └─► chunks of snapshots

A turn does all that one tick of the loop has brought, so proposals that come together share a
write, a sync and an Append. Once it is over it says and answers nothing more.
"""

import asyncio
import logging
from asyncio import Future, Handle, Task, TimerHandle
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from contextvars import copy_context
from math import ceil, inf
from typing import Generic, Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from bastide.base import faults
from bastide.base.errors import Refusal, Unavailable
from bastide.base.rt import runtime
from bastide.parts.raft.contract import (
    NOBODY,
    AnyMessage,
    ChunkGiven,
    ChunkWanted,
    Entry,
    GroupFailed,
    LeadershipLost,
    NodeId,
    NotLeader,
    Options,
    ProposalsOver,
    Ready,
    SnapshotChunk,
)
from bastide.parts.raft.core.members import decode_change
from bastide.parts.raft.core.raft import Raft
from bastide.parts.raft.host.machine import Keeping, Leadership, StateMachine
from bastide.parts.raft.host.waiting import Proposals, Readers, Reads
from bastide.parts.raft.storage.store import Storage
from bastide.parts.raft.transport.links import Transport

APPLIED_TURN_MAX = 1_024
"""Entries applied between two turns of the loop."""
READ_ELECTIONS = 3
"""So many of `election_s` a read waits for a leader."""
CORE_BEAT = 0.75
"""Of a heartbeat: see `_set_timer`."""

NOT_LED = Leadership(NOBODY, 0, is_here=False)

R = TypeVar("R")

_log = logging.getLogger(__name__)


class Seat(msgspec.Struct, Generic[R], frozen=True):
    """What stays the same from life to life."""

    node: NodeId
    group: int
    machine: StateMachine[R]
    transport: Transport | None
    options: Options
    keeping: Keeping


class Owner(Protocol):
    def failed(self, error: GroupFailed) -> None:
        """The disk did."""
        ...

    def broken(self, error: BaseException) -> None:
        """We did, or the state machine."""
        ...

    def led(self, leadership: Leadership) -> None:
        """Another leader, or term."""
        ...


class Life(Generic[R]):
    def __init__(self, seat: Seat[R], storage: Storage, owner: Owner, *, applied: int) -> None:
        """`applied`: what the machine has, at least that of the snapshot."""
        self.storage = storage
        self.applied = applied
        self.is_over = False
        self.leadership = NOT_LED
        self._seat = seat
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()  # the node's own runtime, whoever asks for a turn
        self.now_s = runtime.current().clock.monotonic
        self.core = Raft(
            seat.node,
            replace(seat.options, heartbeat_s=CORE_BEAT * seat.options.heartbeat_s),
            storage.durable,
            runtime.current().chance.random,
            self.now_s(),
        )
        # The core has the entries now, and drops them behind a snapshot.
        storage.durable = replace(storage.durable, entries=())
        # who waits
        self._proposed: list[tuple[bytes, Future[R]]] = []
        self._proposals: Proposals[R] = Proposals()
        self._changes: list[tuple[int, Future[None]]] = []
        self._asking: dict[bool, list[Future[int]]] = {}
        self._reads = Reads()
        self._token = 0
        # what is to be done
        self._may_have_changed = False  # who leads
        self._turn_due: Handle | None = None
        self._timer: TimerHandle | None = None
        self._timer_s = 0.0  # when it is due, of the loop's time
        self._out: tuple[int, Ready] | None = None  # what is being written
        self._idle: Future[None] | None = None  # until there is something to write
        self._tasks: dict[Task[None], None] = {}
        self._applying: deque[Entry] = deque()
        self._is_restoring = False
        self._since_snapshot = [0, 0]  # entries, bytes
        self._snapshotting = asyncio.Lock()
        # and so it begins
        self._spawn(self._write_on())
        if seat.transport:
            seat.transport.join(seat.group, self._receive)
        self.wake()

    # --- its end --------------------------------------------------------------------------------

    def end(self, refusal: Refusal) -> None:
        """Nothing is said or answered from here on; who waits is refused."""
        self.is_over = True
        if self._seat.transport:
            self._seat.transport.leave(self._seat.group)
        if self._timer:
            self._timer.cancel()
        self._refuse_all(lambda: again(refusal))
        self._see_leader(Leadership(NOBODY, self.leadership.term, is_here=False))

    async def ended(self) -> None:
        """Returns once nothing of it uses the disk any more."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _refuse_all(self, refusal: Callable[[], Refusal]) -> None:
        proposed, self._proposed = self._proposed, []
        for _, future in proposed:
            _refuse(future, refusal())
        self._refuse_proposals(refusal)
        asking, self._asking = self._asking, {}
        for futures in asking.values():
            Readers(futures, False, 0).refuse(refusal)
        self._reads.refuse(refusal)

    def _refuse_proposals(self, refusal: Callable[[], Refusal]) -> None:
        self._proposals.refuse(refusal)
        changes, self._changes = self._changes, []
        for _, future in changes:
            _refuse(future, refusal())

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work, context=self._context)
        self._tasks[task] = None
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: "Task[None]") -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()):
            self._owner.broken(error)

    # --- who waits ------------------------------------------------------------------------------

    def propose(self, payload: bytes) -> "Future[R]":
        future: Future[R] = self._loop.create_future()
        self._proposed.append((payload, future))
        self.wake()
        return future

    def read(self, *, lease: bool) -> "Future[int]":
        future: Future[int] = self._loop.create_future()
        self._asking.setdefault(lease, []).append(future)
        self.wake()
        return future

    def changed(self, index: int) -> "Future[None]":
        """Done when what began with the change at `index` is over."""
        future: Future[None] = self._loop.create_future()
        self._changes.append((index, future))
        self.wake()
        return future

    # --- turns ----------------------------------------------------------------------------------

    def wake(self) -> None:
        if self._turn_due is None:
            self._turn_due = self._loop.call_soon(self._take_turn, context=self._context)

    def _receive(self, messages: Sequence[AnyMessage]) -> None:
        if self.is_over:
            return
        now_s = self.now_s()
        try:
            for message in messages:
                self.core.step(now_s, message)
        except Exception as error:
            self._owner.broken(error)
        self._may_have_changed = True
        self.wake()

    def _take_turn(self) -> None:
        self._turn_due = None
        if self.is_over:
            return
        try:
            self._turn()
        except GroupFailed as error:
            self._owner.failed(error)
        except Exception as error:
            self._owner.broken(error)

    def _turn(self) -> None:
        now_s = self.now_s()
        if now_s >= self.core.next_tick_s:
            self.core.tick(now_s)
            self._may_have_changed = True
        if self._proposed:
            self._propose(now_s)
        if self._asking:
            self._ask(now_s)
        if ready := self.core.ready():
            self._do(ready)
        if self._applying and not self._is_restoring:
            self._apply()
            self.wake()  # there may be more; and who is answered may ask again until then
        if self._may_have_changed or not self.leadership.is_here:
            self._look()
        self._set_timer(now_s)

    def _set_timer(self, now_s: float) -> None:
        """One timer, which may come too early: then it is set anew. A leader's is rounded up to a
        whole heartbeat of the loop's time, so that those of many groups come together and share
        their frames. The core's own interval is shorter, so that none is left out.
        """
        next_s = self.core.next_tick_s
        if next_s == inf:  # who leads alone has nothing to do by itself
            return
        due_s = self._loop.time() + max(next_s - now_s, 0)
        if self._seat.transport and self.leadership.is_here:
            beat_s = self._seat.options.heartbeat_s
            due_s = ceil(due_s / beat_s) * beat_s
        if self._timer:
            if self._timer_s <= due_s:
                return
            self._timer.cancel()
        self._timer_s = due_s
        self._timer = self._loop.call_at(due_s, self._tick, context=self._context)

    def _tick(self) -> None:
        self._timer = None
        self._take_turn()

    def _do(self, ready: Ready) -> None:
        self._send(ready.messages)
        if ready.must_sync:
            faults.point("raft.before_write")
            offset = self.storage.write(ready.vote, ready.entries)
            faults.point("raft.after_write")
            self._out = (offset, ready)
            if self._idle and not self._idle.done():
                self._idle.set_result(None)
        else:
            self._send(ready.messages_later)
        self._applying += ready.committed
        for read in ready.reads:
            self._answer_read(read.token, read.index)
        for wanted in ready.chunks_wanted:
            self._send_chunk(wanted)
        for given in ready.chunks_given:
            self._spawn(self._take_chunk(given))

    def _send(self, messages: Sequence[AnyMessage]) -> None:
        if messages and self._seat.transport:
            self._seat.transport.send(self._seat.group, messages)

    async def _write_on(self) -> None:
        """Tells the core of each write's end, one after another."""
        while not self.is_over:
            if self._out is None:
                self._idle = self._loop.create_future()
                await self._idle
                continue
            (offset, ready), self._out = self._out, None
            try:
                await self.storage.synced(offset, self._refused)
            except GroupFailed as error:
                self._owner.failed(error)
                return
            if not self.is_over:
                self._written(ready)

    def _written(self, ready: Ready) -> None:
        faults.point("raft.after_sync")
        last = ready.entries[-1] if ready.entries else None
        self.core.written(self.now_s(), last.index if last else 0, last.term if last else 0)
        self._send(ready.messages_later)
        self._take_turn()

    # --- proposals ------------------------------------------------------------------------------

    def _propose(self, now_s: float) -> None:
        proposed, self._proposed = self._proposed, []
        try:
            first, term = self.core.propose(now_s, [payload for payload, _ in proposed])
        except ProposalsOver:
            self._propose_singly(now_s, proposed)
        except NotLeader as refusal:
            self._may_have_changed = True
            for _, future in proposed:
                _refuse(future, NotLeader(refusal.leader))
        else:
            for index, (_, future) in enumerate(proposed, start=first):
                self._proposals.add(index, term, future)

    def _propose_singly(self, now_s: float, proposed: "list[tuple[bytes, Future[R]]]") -> None:
        """Not all fit, but some may."""
        for payload, future in proposed:
            try:
                index, term = self.core.propose(now_s, [payload])
            except Refusal as refusal:
                _refuse(future, refusal)
            else:
                self._proposals.add(index, term, future)

    def _refused(self, full: Unavailable) -> None:
        """A leader whose disk is full lets another lead; what was proposed may get through yet."""
        self._refuse_proposals(lambda: again(full, outcome="unknown"))
        status = self.core.status()
        fit = [f for f in status.followers if f.is_active and f.node in status.members.voters]
        if fit:
            best = max(fit, key=lambda follower: follower.match)
            with suppress(Refusal):  # it leads no longer
                self.core.transfer(self.now_s(), best.node)
            self.wake()

    # --- applying -------------------------------------------------------------------------------

    def _apply(self) -> None:
        faults.point("raft.before_apply")
        run: list[Entry] = []
        for _ in range(min(len(self._applying), APPLIED_TURN_MAX)):
            entry = self._applying.popleft()
            if entry.index <= self.applied:
                continue
            if entry.kind == "payload":
                run.append(entry)
                continue
            self._apply_run(run)
            run = []
            if entry.kind == "change":
                self._apply_change(entry)
            self.applied = entry.index
        self._apply_run(run)
        self.core.applied(self.applied)
        faults.point("raft.after_apply")
        self._reads.applied(self.applied)
        if not self._applying:
            self._snapshot_if_due()

    def _apply_run(self, run: Sequence[Entry]) -> None:
        if not run:
            return
        results = self._seat.machine.apply(run)
        self.applied = run[-1].index
        self._since_snapshot[0] += len(run)
        self._since_snapshot[1] += sum([len(entry.payload) for entry in run])
        self._proposals.applied(run, results)

    def _apply_change(self, entry: Entry) -> None:
        members, context = decode_change(entry)
        self._seat.machine.regroup(members, context)
        if not members.is_joint:
            changes, self._changes = self._changes, []
            for index, future in changes:
                if index > entry.index:
                    self._changes.append((index, future))
                elif not future.done():
                    future.set_result(None)

    # --- reads ----------------------------------------------------------------------------------

    def _ask(self, now_s: float) -> None:
        asking, self._asking = self._asking, {}
        until_s = now_s + READ_ELECTIONS * self._seat.options.election_s
        for is_by_lease, futures in asking.items():
            self._ask_for(Readers(futures, is_by_lease, until_s))

    def _ask_for(self, readers: Readers) -> None:
        self._token += 1
        self._reads.asked[self._token] = readers
        try:
            self.core.read(self.now_s(), self._token, lease=readers.is_by_lease)
        except Refusal as error:
            refusal = error
            del self._reads.asked[self._token]
            readers.refuse(lambda: refusal)

    def _answer_read(self, token: int, index: int | None) -> None:
        readers = self._reads.asked.pop(token, None)
        if readers is None:
            return
        if index is not None:
            self._reads.answer_at(index, token, readers, applied=self.applied)
        elif self.now_s() >= readers.until_s:
            readers.refuse(lambda: NotLeader(self.leadership.leader))
        else:
            self._reads.asked[token] = readers  # so that it is refused if the node fails meanwhile
            self._loop.call_later(
                self._seat.options.heartbeat_s, self._ask_again, token, context=self._context
            )

    def _ask_again(self, token: int) -> None:
        readers = self._reads.asked.pop(token, None)
        if readers and not self.is_over:
            self._ask_for(readers)
            self.wake()

    # --- leadership -----------------------------------------------------------------------------

    def _look(self) -> None:
        self._may_have_changed = False
        status = self.core.status()
        seen = Leadership(status.leader, status.term, is_here=status.kind == "leader")
        if seen != self.leadership:
            self._see_leader(seen)

    def _see_leader(self, seen: Leadership) -> None:
        before, self.leadership = self.leadership, seen
        if before.is_here and (before.term != seen.term or not seen.is_here):
            self._refuse_proposals(LeadershipLost)
        self._owner.led(seen)

    # --- snapshots ------------------------------------------------------------------------------

    def _snapshot_if_due(self) -> None:
        entries, bytes_count = self._since_snapshot
        if (
            entries < self._seat.keeping.snapshot_entries
            and bytes_count < self._seat.keeping.snapshot_bytes
        ):
            return
        if not self._snapshotting.locked():
            self._since_snapshot = [0, 0]
            self._spawn(self._take_snapshot())

    async def _take_snapshot(self) -> None:
        async with self._snapshotting:
            if self.is_over or self.applied <= self.storage.mark.index:
                return
            if self.core.status().committed < self.applied:
                return  # opened again, and it doesn't know yet what the machine has
            mark = self.core.mark_at(self.applied)
            pieces = self._seat.machine.snapshot()
            try:
                kept = await self.storage.keep_snapshot(mark, pieces)
            except GroupFailed as error:
                self._owner.failed(error)
            except Unavailable as error:
                _log.warning(
                    "group %s: %s", self._seat.group, error
                )  # tried again when it is due again
            else:
                if not self.is_over:
                    self.core.snapshot_taken(kept)
                    await self._forget()

    async def _forget(self) -> None:
        """Once the core sends no older snapshot any more, but those that it has begun to send."""
        followers = self.core.status().followers
        await self.storage.forget(in_use=[f.snapshot_index for f in followers])

    def _send_chunk(self, wanted: ChunkWanted) -> None:
        try:
            content = self.storage.read_chunk(wanted.mark, wanted.at, wanted.end)
        except OSError as error:
            _log.warning("a snapshot can't be read: %s", error)
            return
        if content is not None:
            chunk = SnapshotChunk(
                to=wanted.to,
                sender=self._seat.node,
                term=wanted.term,
                mark=wanted.mark,
                at=wanted.at,
                content=content,
                round=wanted.round,
            )
            self._send([chunk])

    async def _take_chunk(self, given: ChunkGiven) -> None:
        next_at = self.storage.keep_chunk(given.mark, given.at, given.content)
        if not given.is_last:
            self.core.chunk_kept(self.now_s(), given.mark, next_at)
            self._take_turn()
            return
        try:
            async with self._snapshotting:
                self._is_restoring = True
                faults.point("raft.before_install")
                await self.storage.install(given.mark)
                faults.point("raft.after_install")
                await self._seat.machine.restore(self.storage.pieces())
        except (Unavailable, OSError) as error:
            # The core appends nothing until it is installed; opening again begins anew.
            self._owner.failed(GroupFailed(f"a snapshot could not be installed: {error}"))
            return
        finally:
            self._is_restoring = False
        if not self.is_over:
            self.applied = given.mark.index
            self._since_snapshot = [0, 0]
            self.core.installed(self.now_s(), given.mark)
            self._reads.applied(self.applied)
            self._take_turn()
            await self.storage.forget()


def _refuse(future: "Future[R]", refusal: Refusal) -> None:
    if not future.done():
        future.set_exception(refusal)


def again(refusal: Refusal, outcome: str = "") -> Refusal:
    """One for each caller: a traceback belongs to one of them."""
    if isinstance(refusal, Unavailable):
        return type(refusal)(str(refusal), outcome=outcome or refusal.outcome)
    return refusal
