"""The leases' rows in the database: the durable half of core/lease.py."""

from bastide.base.rt import runtime
from bastide.base.tx import Tx, Value
from bastide.engines.ids.contract import NoWorkerId
from bastide.engines.ids.core.lease import Worker, choose, choose_this, fence_for
from bastide.engines.ids.model import ANY_WORKER, Lease, Settings
from bastide.engines.ids.service.rows import agreed
from bastide.engines.ids.tables import (
    WORKER_ADD,
    WORKER_EXTEND,
    WORKER_RELEASE,
    WORKER_TAKE,
    WORKERS_LIST,
)
from bastide.engines.sql.contract import Database

HOLDER_BYTES = 16


class Leases:
    def __init__(self, settings: Settings, *, workers: int, db: Database) -> None:
        self._settings = settings
        self._workers = workers
        self._db = db
        self._clock = runtime.current().clock
        self._token = runtime.current().chance.token

    async def take(self, at_ms: int) -> Lease:
        """A worker id that nobody holds; `at_ms` is the last that the caller has stamped.

        Raises:
            NoWorkerId: all are held.
            Unavailable: the store is away.
        """
        holder = self._token(HOLDER_BYTES).hex()  # new for each taking: see core/lease.py

        async def body(tx: Tx) -> Lease:
            found = self._chosen(await tx.fetch(WORKERS_LIST, limit=self._workers))
            floor_ms = max(found.fence_ms, at_ms)
            lease = Lease(found.worker, holder, floor_ms, self.fence_for(floor_ms))
            row: dict[str, Value] = {"holder": lease.holder, "fence_ms": lease.fence_ms}
            if not await tx.run(WORKER_TAKE, id=lease.worker, **row):
                await tx.run(WORKER_ADD, worker=lease.worker, **row)
            return lease

        return await agreed(self._db, body)

    def _chosen(self, rows: list[Worker]) -> Worker:
        settings, now_ms = self._settings, self._clock.now_ms()
        if settings.worker != ANY_WORKER:
            return choose_this(rows, settings.worker)
        margin_ms, workers = settings.margin_ms, self._workers
        found = choose(rows, now_ms=now_ms, workers=workers, margin_ms=margin_ms)
        if found is None:
            raise NoWorkerId(
                f"all {workers} worker ids are held; one is free {margin_ms} ms after "
                "its holder stops extending it"
            )
        return found

    def fence_for(self, at_ms: int) -> int:
        """Where the fence should be now for a holder that has stamped up to `at_ms`."""
        return fence_for(at_ms, now_ms=self._clock.now_ms(), ahead_ms=self._settings.fence_ahead_ms)

    async def extend(self, lease: Lease, fence_ms: int) -> bool:
        """Whether `lease` is still held, and its fence now at `fence_ms`, durably.

        Raises:
            Unavailable: the store is away; the fence may have moved.
        """

        async def body(tx: Tx) -> bool:
            changed = await tx.run(
                WORKER_EXTEND, id=lease.worker, me=lease.holder, fence_ms=fence_ms
            )
            return changed == 1

        return await self._db.transact(body)

    async def release(self, lease: Lease) -> None:
        """The worker id is free for others, above the fence. Absent, or another's: no error.

        Raises:
            Unavailable: the store is away; the id is free when its fence lies behind.
        """
        await self._db.write(WORKER_RELEASE, id=lease.worker, me=lease.holder)
