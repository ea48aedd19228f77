"""The front of every cache: checks, one load for all who miss at once, and what is not kept."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from bastide.base.fence import Fence
from bastide.base.rt import runtime
from bastide.engines.cache.contract import (
    COUNT_MAX,
    INVALIDATE_KEYS_MAX,
    KEY_BYTES_MAX,
    TTL_S_MAX,
    VALUE_BYTES_MAX,
    CountRefused,
    KeyRefused,
    Load,
    TtlRefused,
    ValueTooLarge,
)
from bastide.engines.cache.model import ABSENT, CacheBackend, Entry, Hearing, Store


@asynccontextmanager
async def opened(backend: CacheBackend, client: str) -> AsyncIterator["LoadingCache"]:
    """The cache of `client` on `backend`."""
    flights: dict[str, _Flight] = {}

    def forget(key: str) -> None:
        flights.pop(key, None)

    async with backend.store(client, forget) as store:
        cache = LoadingCache(store, flights, client)
        try:
            yield cache
        finally:
            await cache.close()


class LoadingCache:
    """One client's cache: `contract.Cache`. A load that is not among the `flights` any more is not
    kept, and nobody joins it.
    """

    def __init__(self, store: Store, flights: "dict[str, _Flight]", client: str) -> None:
        self._flights = flights
        self._flown = 0
        self._loading: set[asyncio.Task[Entry]] = set()
        self._store = store
        self._near = store.near
        metrics = runtime.current().metrics
        self._near_hits = metrics.counter(
            "bastide_cache_near_hits_total", "Answered from this process's memory.", client=client
        )
        self._far_hits = metrics.counter(
            "bastide_cache_far_hits_total", "Answered by the cache's server.", client=client
        )
        self._misses = metrics.counter(
            "bastide_cache_misses_total", "Asked for, and neither here nor there.", client=client
        )
        self._loads = metrics.counter(
            "bastide_cache_loads_total", "Loads that were begun after a miss.", client=client
        )
        metrics.gauge(
            "bastide_cache_near_bytes",
            "Held in this process's memory.",
            lambda: store.near_bytes,
            client=client,
        )

    async def get(self, key: str) -> bytes | None:
        entry = self._near(key)
        if entry is None:  # what is near has passed the check
            entry = await self._far(_checked(key))
        else:
            self._near_hits.value += 1  # by hand: a call would cost a tenth of the hit
        return None if entry is ABSENT else entry

    async def put(
        self, key: str, value: bytes, *, ttl_s: float, fence: Fence | None = None
    ) -> None:
        _check_value(value)
        _check_ttl(ttl_s)
        self._flights.pop(_checked(key), None)
        try:
            await self._store.put(key, value, ttl_s, fence)
        finally:
            self._flights.pop(key, None)

    async def delete(self, key: str) -> None:
        await self.invalidate([key])

    async def increment(self, key: str, amount: int = 1, *, ttl_s: float) -> int:
        _check_ttl(ttl_s)
        if abs(amount) > COUNT_MAX:
            raise CountRefused(f"amount {amount}; at most {COUNT_MAX} either way is taken")
        return await self._store.increment(_checked(key), amount, ttl_s)

    async def get_or_load(
        self, key: str, load: Load, *, ttl_s: float, absent_ttl_s: float
    ) -> bytes | None:
        entry = self._near(key)
        if entry is None:
            _check_ttl(ttl_s)
            _check_ttl(absent_ttl_s)
            entry = await self._loaded(_checked(key), load, ttl_s, absent_ttl_s)
        else:
            self._near_hits.value += 1
        return None if entry is ABSENT else entry

    async def invalidate(self, keys: Sequence[str]) -> None:
        if len(keys) > INVALIDATE_KEYS_MAX:
            raise KeyRefused(f"{len(keys)} keys; at most {INVALIDATE_KEYS_MAX} are taken at once")
        for key in keys:
            self._flights.pop(_checked(key), None)
        try:
            await self._store.invalidate(keys)
        finally:
            for key in keys:  # loads that began meanwhile may have read what was true before
                self._flights.pop(key, None)

    async def health(self) -> None:
        await self._store.health()

    async def close(self) -> None:
        loading = list(self._loading)
        for task in loading:
            task.cancel()
        await asyncio.gather(*loading, return_exceptions=True)

    async def _far(self, key: str) -> Entry | None:
        entry = await self._store.get(key)
        (self._misses if entry is None else self._far_hits).add()
        return entry

    async def _loaded(self, key: str, load: Load, ttl_s: float, absent_ttl_s: float) -> Entry:
        """By the flight that is up, if its answer can't be older than this call; else by the next.

        Who can't hear of invalidations (the server is away) waits until the flight that was up has
        ended, and shares the next with all who did the same: at most one load at a time.
        """
        arrived = self._flown
        while flight := self._flights.get(key):
            if flight.number > arrived or flight.hearing.lasts():
                return await self._joined(key, flight)
            await asyncio.wait([flight.task])
        self._flown += 1
        flight = self._flights[key] = _Flight(self._flown, self._store.hearing(key))
        flight.task = asyncio.create_task(self._fly(flight, key, load, ttl_s, absent_ttl_s))
        self._loading.add(flight.task)
        flight.task.add_done_callback(self._loading.discard)
        return await self._joined(key, flight)

    async def _joined(self, key: str, flight: "_Flight") -> Entry:
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                self._take_off(key, flight)  # first: who comes now would be cancelled with it
                flight.task.cancel()

    def _take_off(self, key: str, flight: "_Flight") -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    async def _fly(
        self, flight: "_Flight", key: str, load: Load, ttl_s: float, absent_ttl_s: float
    ) -> Entry:
        try:
            entry = await self._far(key)
            if entry is not None:
                return entry
            token = await self._store.begin(key)
            self._loads.add()
            value = await load()
            _check_value(value or b"")
            entry, kept_s = (ABSENT, absent_ttl_s) if value is None else (value, ttl_s)
            if token is not None and self._flights.get(key) is flight:
                await self._store.keep(key, entry, kept_s, token=token)
            return entry
        finally:
            self._take_off(key, flight)


class _Flight:
    """One load, and how many wait for it. It ends with the last of them, if all are cancelled."""

    task: "asyncio.Task[Entry]"

    def __init__(self, number: int, hearing: Hearing) -> None:
        self.number = number
        self.hearing = hearing
        self.waiting = 0


def _checked(key: str) -> str:
    if not key or len(key) > KEY_BYTES_MAX or not key.isascii():
        try:
            bytes_ = len(key.encode())
        except UnicodeEncodeError as error:
            raise KeyRefused("a key that has half of a surrogate pair; text is taken") from error
        if not 0 < bytes_ <= KEY_BYTES_MAX:
            raise KeyRefused(f"a key of {bytes_} bytes; 1 to {KEY_BYTES_MAX} are taken")
    return key


def _check_value(value: bytes) -> None:
    if len(value) > VALUE_BYTES_MAX:
        raise ValueTooLarge(f"value of {len(value)} bytes; at most {VALUE_BYTES_MAX} are taken")


def _check_ttl(ttl_s: float) -> None:
    if not 0 < ttl_s <= TTL_S_MAX:
        raise TtlRefused(f"ttl_s={ttl_s}; above 0 and at most {TTL_S_MAX:g} is taken")
