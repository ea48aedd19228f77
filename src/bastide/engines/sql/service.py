"""The front of every database: what its backends would otherwise each do for themselves."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import msgspec

from bastide.base.errors import Invalid
from bastide.base.fence import Fence
from bastide.base.rt import runtime
from bastide.base.tx import (
    PAGE_ITEMS_MAX,
    Duplicate,
    Once,
    Page,
    Statement,
    Tx,
    Value,
    cursor_of,
    place_of,
)
from bastide.engines.sql.contract import (
    FETCH_ROWS_MAX,
    SCANS_MAX,
    WAITING_MAX,
    Body,
    BodyMiswritten,
    Contended,
    Migrations,
    OnceMismatch,
    RowsOver,
)
from bastide.engines.sql.model import Rerun, Snapshot, Store
from bastide.engines.sql.tables import (
    FENCE_ADD,
    FENCE_FIND,
    FENCE_RAISE,
    ONCE_CLAIM,
    ONCE_FIND,
    ONCE_REPLY,
    ONCE_SWEEP,
)

T = TypeVar("T")

ONCE_KEPT_MS = 24 * 3600 * 1000
SWEEP_ROWS_MAX = 1000  # a transaction: the loop is not held for longer than a few milliseconds
SCAN_ROWS = 256  # fetched at a time
SCAN_PLACE_S = 5.0  # how long one scan too many waits

_in_body: ContextVar[bool] = ContextVar("in_body", default=False)


class Sql:
    """One client's database: `contract.Database`."""

    def __init__(self, store: Store, *, scan_pause_s: float) -> None:
        self._store = store
        self._scan_pause_s = scan_pause_s
        self._scans = asyncio.Semaphore(SCANS_MAX)
        self._waiting = 0
        self._age = _Age()

    async def transact(
        self, body: Body[T], *, once: Once[T] | None = None, fence: Fence | None = None
    ) -> T:
        self._admit()
        if fence is not None:
            body = _fenced(body, fence)
        if once is not None:
            body = _repeatable(body, once, self._age.stamp_ms())
        self._waiting += 1
        token = _in_body.set(True)
        try:
            return await self._store.transact(body)
        finally:
            _in_body.reset(token)
            self._waiting -= 1

    async def write(self, statement: Statement[object], **values: Value) -> None:
        self._admit()
        self._waiting += 1
        try:
            await self._store.write(statement, values)
        finally:
            self._waiting -= 1

    async def one(self, statement: Statement[T], **values: Value) -> T | None:
        _allow_read(statement)
        return await self._store.one(statement, values)

    async def fetch(self, statement: Statement[T], **values: Value) -> list[T]:
        _allow_read(statement)
        rows = await self._store.fetch(statement, values, limit=FETCH_ROWS_MAX + 1)
        if len(rows) > FETCH_ROWS_MAX:
            raise RowsOver(f"over {FETCH_ROWS_MAX} rows; bound the statement, or scan")
        return rows

    async def page(
        self,
        statement: Statement[T],
        place: Callable[[T], int | str],
        *,
        first: int | str,
        cursor: str | None = None,
        limit: int = 50,
        **values: Value,
    ) -> Page[T]:
        _allow_read(statement)
        if limit < 1:
            raise Invalid(f"limit={limit}; at least 1 is needed")
        limit = min(limit, PAGE_ITEMS_MAX)
        after = first if cursor is None else _place(cursor, first)
        bound = {**values, "after": after, "limit": limit + 1}  # one more tells whether that's all
        items = await self._store.fetch(statement, bound, limit=limit + 1)
        if len(items) <= limit:
            return Page(items)
        return Page(items[:limit], cursor_of(place(items[limit - 1])))

    async def scan(self, statement: Statement[T], **values: Value) -> AsyncIterator[T]:
        _allow_read(statement)
        async with self._place(), self._store.snapshot(statement, values) as snapshot:
            pause = _Pause(snapshot, self._scan_pause_s)
            try:
                while rows := await snapshot.take(SCAN_ROWS):
                    pause.begin()
                    for row in rows:
                        pause.touched = True
                        yield row
                    pause.end()
            finally:
                pause.end()

    async def migrate(self, owner: str, migrations: Migrations) -> None:
        await self._store.migrate(owner, migrations)

    async def health(self) -> None:
        await self._store.health()

    async def sweep(self, *, kept_ms: int = ONCE_KEPT_MS) -> int:
        """Forget the replies that are older than `kept_ms`; how many it were."""
        before_ms, swept = self._age.before_ms(kept_ms), 0
        if before_ms is None:
            return 0

        async def body(tx: Tx) -> int:
            return await tx.run(ONCE_SWEEP, before_ms=before_ms, limit=SWEEP_ROWS_MAX)

        while count := await self.transact(body):
            swept += count
        return swept

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(SCAN_PLACE_S):
                await self._scans.acquire()
        except TimeoutError as error:
            raise Contended(f"{SCANS_MAX} scans run since {SCAN_PLACE_S} s") from error
        try:
            yield
        finally:
            self._scans.release()

    def _admit(self) -> None:
        if _in_body.get():
            raise BodyMiswritten("a body opened a second transaction; it has its `tx`")
        if self._waiting >= WAITING_MAX:
            raise Contended(f"{WAITING_MAX} bodies wait already")


def _allow_read(statement: Statement[object]) -> None:
    if _in_body.get():
        raise BodyMiswritten("a body reads through its `tx`: beside it, it sees an older state")
    if statement.writes:
        raise BodyMiswritten("a statement that writes goes through `transact` or `write`")


def _place(cursor: str, first: int | str) -> int | str:
    if isinstance(first, int):
        return place_of(cursor, tuple[int])[0]
    return place_of(cursor, tuple[str])[0]


def _repeatable(body: Body[T], once: Once[T], at_ms: int) -> Body[T]:
    """`body`, but a request that was answered before gets that answer and has no second effect.

    The key is claimed before the body runs: of two that run at once, the second waits there, and
    not at a row of the body, whose refusal would look like its own.
    """

    async def body_once(tx: Tx) -> T:
        try:
            claimed = await tx.run(
                ONCE_CLAIM, key=once.key, fingerprint=once.fingerprint, at_ms=at_ms
            )
        except Duplicate as error:  # the same request, on another connection, came first
            raise Rerun from error
        if not claimed:
            return await _kept(tx, once)
        reply = await body(tx)
        await tx.run(ONCE_REPLY, of=once.key, reply=msgspec.json.encode(reply))
        return reply

    return body_once


def _fenced(body: Body[T], fence: Fence) -> Body[T]:
    """`body`, if no newer token than the fence's was seen here; it is the newest then."""

    async def body_fenced(tx: Tx) -> T:
        newest = await tx.one(FENCE_FIND, name=fence.name)
        if newest is None:
            try:
                await tx.run(FENCE_ADD, name=fence.name, token=fence.token)
            except Duplicate as error:  # another connection's came first
                raise Rerun from error
        else:
            fence.check(newest)
            if fence.token > newest:
                await tx.run(FENCE_RAISE, of=fence.name, token=fence.token)
        return await body(tx)

    return body_fenced


async def _kept(tx: Tx, once: Once[T]) -> T:
    """The reply to the same request, when it was made before."""
    kept = await tx.one(ONCE_FIND, key=once.key)
    assert kept is not None, "the claim has seen it, in this transaction"
    if kept.fingerprint != once.fingerprint:
        raise OnceMismatch("this key was used before, for another request", key=once.key)
    return msgspec.json.decode(kept.reply, type=once.reply)


class _Age:
    """How old a reply is: both hands of the clock must have gone far enough, since the wall clock
    may step. A stamp never lags behind what was the wall clock at the start and has gone on
    evenly; nothing is old before this process has itself run for as long as replies are kept, as
    it can't know how long those that it found here have lain.
    """

    def __init__(self) -> None:
        self._began_ms = runtime.now_ms()
        self._began_s = runtime.monotonic()

    def stamp_ms(self) -> int:
        return max(runtime.now_ms(), self._began_ms + self._run_ms())

    def before_ms(self, kept_ms: int) -> int | None:
        """Stamps below are older than `kept_ms`; None while there can be none."""
        if self._run_ms() < kept_ms:
            return None
        return min(runtime.now_ms(), self._began_ms + self._run_ms()) - kept_ms

    def _run_ms(self) -> int:
        return int((runtime.monotonic() - self._began_s) * 1000)


class _Pause:
    """Cuts a snapshot whose reader takes no row for `pause_s`.

    A row only leaves a mark; the timer looks at it. So a reader is cut after one to two pauses.
    """

    def __init__(self, snapshot: Snapshot[Any], pause_s: float) -> None:
        self._snapshot = snapshot
        self._pause_s = pause_s
        self._timer: asyncio.TimerHandle | None = None
        self.touched = False

    def begin(self) -> None:
        self.touched = False
        self._timer = asyncio.get_running_loop().call_later(self._pause_s, self._look)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        if self.touched:
            self.begin()
        else:
            self._timer = None
            self._snapshot.cut()
