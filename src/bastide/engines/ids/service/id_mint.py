"""The mint with its store: keeps a lease, and counts numbers, codes and keys."""

import asyncio
from contextlib import suppress
from hashlib import blake2b

from msgspec.structs import replace

from bastide.base.errors import Unavailable
from bastide.base.rt import runtime
from bastide.engines.ids.contract import RANDOM_LENGTH_MAX, FencePassed, LengthOver
from bastide.engines.ids.core.layout import PRESETS
from bastide.engines.ids.model import Settings, SettingWrong
from bastide.engines.ids.service.codes import Codes
from bastide.engines.ids.service.counters import Counters, checked
from bastide.engines.ids.service.kept import kept
from bastide.engines.ids.service.keys import KeyPool, random_word
from bastide.engines.ids.service.leases import Leases
from bastide.engines.ids.service.minter import NO_LEASE, Minter
from bastide.engines.sql.contract import Database

SECRET_BYTES = 16
RENEW_PAUSE_S = 0.02  # between two renewals, however often the fence is reached


class IdMint(Minter):
    """The contract Ids. Holds nothing, and makes no ids, before `start`."""

    def __init__(self, settings: Settings, *, db: Database) -> None:
        layout = PRESETS[settings.layout]
        super().__init__(layout, on_backward_clock=settings.on_backward_clock)
        self.keys = KeyPool(db)
        self._db = db
        self._settings = settings
        self._leases = Leases(settings, workers=layout.workers, db=db)
        self._lease = NO_LEASE
        self._counters = Counters(db)
        self._codes = Codes(self._counters)
        self._renewal_error = ""
        registry = runtime.current().metrics
        registry.gauge("bastide_ids_worker", "The worker id held.", lambda: self._lease.worker)
        registry.gauge(
            "bastide_ids_fence_ahead_seconds",
            "How far ahead of the clock this process may stamp.",
            lambda: (self._lease.fence_ms - self._now_ms()) / 1000,
        )
        self._taken = registry.counter("bastide_ids_leases_taken_total", "Worker ids taken.")

    async def start(self) -> None:
        """
        Raises:
            SettingWrong: the settings don't fit the database, or each other.
            NoWorkerId.
            Unavailable: the store is away.
        """
        await self._check_settings()
        secret = await kept(self._db, "secret", runtime.current().chance.token(SECRET_BYTES))
        self._codes.secret = secret
        self.deployment = int.from_bytes(blake2b(b"timeuuid", key=secret, digest_size=4).digest())
        await self.renew()

    async def _check_settings(self) -> None:
        layout, worker = self.layout, self._settings.worker
        if worker >= layout.workers:
            raise SettingWrong(
                f"worker {worker}: the layout {layout.name} has 0 to {layout.workers - 1}"
            )
        began = (await kept(self._db, "layout", layout.name.encode())).decode()
        if began != layout.name:
            raise SettingWrong(
                f"layout {layout.name}: this database began with {began}, and ids of two layouts "
                "may be equal"
            )

    async def renew(self) -> None:
        """The fence lies ahead again; if the worker id went to another, so does a new one's.

        Raises:
            NoWorkerId.
            Unavailable: the store is away; what is held stays good up to its fence.
        """
        fence_ms = max(self._lease.fence_ms, self._leases.fence_for(self.at_ms))
        if self._lease.holder and await self._leases.extend(self._lease, fence_ms):
            self._lease = replace(self._lease, fence_ms=fence_ms)
            self.raise_fence(fence_ms)
        else:
            self._lease = await self._leases.take(self.at_ms)
            self._taken.add()
            self.hold(self._lease)

    async def keep_lease(self) -> None:
        """Renews twice in `fence_ahead_ms`, and whenever the fence is reached, until cancelled.

        An outage is no error here, so that it heals in `RENEW_PAUSE_S`: `health` tells.
        """
        every_s = self._settings.fence_ahead_ms / 2000
        while True:
            self.fence_reached.clear()
            try:
                await self.renew()
                self._renewal_error = ""
            except Unavailable as error:
                self._renewal_error = f"{type(error).__name__}: {error}"
            await asyncio.sleep(RENEW_PAUSE_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(every_s):
                    await self.fence_reached.wait()

    async def stop(self) -> None:
        """Gives the worker id back; no ids after that."""
        lease, self._lease = self._lease, NO_LEASE
        self.hold(NO_LEASE)
        with suppress(Unavailable):  # then it is free when its fence lies behind
            await self._leases.release(lease)

    async def health(self) -> None:
        """
        Raises:
            FencePassed: the lease could not be extended.
        """
        late_ms = self._now_ms() - self._lease.fence_ms
        if self._renewal_error and late_ms > 0:
            raise FencePassed(f"no extension for {late_ms} ms: {self._renewal_error}")

    async def number(self, series: str) -> int:
        return await self._counters.next(f"number:{checked(series)}")

    async def code(self, series: str, *, length: int) -> str:
        return await self._codes.next(series, length)

    async def key(self, series: str, *, length: int) -> str:
        return await self.keys.next(series, length)

    def random(self, *, length: int) -> str:
        if not 1 <= length <= RANDOM_LENGTH_MAX:
            raise LengthOver(f"{length} characters; 1 to {RANDOM_LENGTH_MAX} can be had")
        return random_word(length)
