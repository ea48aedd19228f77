"""Who holds something for a time: a lock with its resource, a lease with its key."""

import asyncio
import random
from contextlib import suppress
from time import monotonic

from bastide.base.errors import Conflict, NotFound, Unavailable
from bastide.engines.coord.backends.etcd.backend import EtcdKeys
from bastide.engines.coord.contract import Coord, Put, Range
from bastide.parts.histories.contract import Access, Finding, Grant
from bastide.parts.histories.recorder import Recorder
from tools.coord_rounds.clients import REST_S, Clock, ask

TTL_S = 2
WAIT_S = 4.0
LATE_S = 0.7
OUTLIVED_S = 15.0


class Resource:
    """What a lock protects: a sum, which one reads and writes back one higher. It refuses a token
    below the newest that it was shown.
    """

    def __init__(self, lock: str) -> None:
        self.lock = lock
        self.accesses: list[Access] = []
        self.sum = 0
        self.written = 0
        self._newest = 0

    def read(self, holder: str, token: int) -> int | None:
        return self.sum if self._takes(holder, token) else None

    def write(self, holder: str, token: int, value: int) -> None:
        if self._takes(holder, token):
            self.sum = value
            self.written += 1

    def _takes(self, holder: str, token: int) -> bool:
        taken = token >= self._newest
        self._newest = max(self._newest, token)
        access = Access(lock=self.lock, holder=holder, token=token, taken=taken)
        self.accesses.append(access)
        return taken

    def findings(self) -> list[Finding]:
        if self.sum == self.written:
            return []
        told = f"{self.lock}: {self.written} writes were taken, and the sum is {self.sum}"
        return [Finding("lost update", told)]


class Holder:
    """Acquires a lock, works on the resource, releases it; and sometimes wakes up too late."""

    def __init__(
        self, name: str, coord: Coord, recorder: Recorder, chance: random.Random, resource: Resource
    ) -> None:
        self.grants: list[Grant] = []
        self._name = name
        self._coord = coord
        self._recorder = recorder
        self._chance = chance
        self._resource = resource
        self._late: list[asyncio.Task[None]] = []

    async def run(self, clock: Clock) -> None:
        while not clock.over:
            await ask(self._recorder, self._name, "hold", self._resource.lock, None, self._hold)
            await asyncio.sleep(self._chance.uniform(0, 0.03))
        await asyncio.gather(*self._late)

    async def _hold(self) -> object:
        """The token."""
        asked_s = monotonic()
        async with self._coord.session(ttl_s=TTL_S) as session:
            hold = await self._coord.acquire(
                self._resource.lock, lease=session.lease, wait_s=WAIT_S
            )
            acquired_s = monotonic()
            try:
                for _ in range(self._chance.randint(1, 4)):
                    await self._work(hold.token, self._chance.uniform(0, 0.05))
            finally:
                grant = Grant(
                    lock=self._resource.lock,
                    holder=f"{self._name} {hold.lease:x}",
                    asked=asked_s,
                    acquired=acquired_s,
                    released=monotonic(),
                    token=hold.token,
                )
                self.grants.append(grant)
            if self._chance.random() < 0.2:
                late = self._work(hold.token, LATE_S)
                self._late.append(asyncio.ensure_future(late))
            await self._coord.release(hold)
            return hold.token

    async def _work(self, token: int, seconds: float) -> None:
        value = self._resource.read(self._name, token)
        await asyncio.sleep(seconds)
        if value is not None:
            self._resource.write(self._name, token, value + 1)


class Leaser:
    """Puts a key under a lease, keeps it alive for a while, then revokes the lease or forgets it.

    `rate`: how much faster than ours the fastest of the nodes' clocks runs.
    """

    def __init__(
        self, name: str, keys: EtcdKeys, recorder: Recorder, chance: random.Random, prefix: str
    ) -> None:
        self.findings: list[Finding] = []
        self.rate = 1.0
        self._name = name
        self._keys = keys
        self._recorder = recorder
        self._chance = chance
        self._prefix = prefix
        self._count = 0
        self._forgotten: list[bytes] = []

    async def run(self, clock: Clock) -> None:
        while not clock.over:
            self._count += 1
            key = f"{self._prefix}lease/{self._name}.{self._count}"
            self._forgotten.append(key.encode())  # whatever comes of it, it is gone in the end
            await ask(self._recorder, self._name, "lease", key, None, self._live)
            await asyncio.sleep(self._chance.uniform(0, 0.03))

    async def _live(self) -> object:
        key = self._forgotten[-1]
        kept_s = monotonic()
        lease = (await self._keys.grant(TTL_S, 0)).id
        await self._keys.put(Put(key, b"here", lease=lease))
        with suppress(Conflict, NotFound):  # it ended meanwhile
            for _ in range(self._chance.randint(0, 3)):
                await self._look(key, kept_s)
                await asyncio.sleep(self._chance.uniform(0, TTL_S / 3))
                asked_s = monotonic()
                await self._keys.keep_alive(lease)
                kept_s = asked_s
            await self._look(key, kept_s)
            if self._chance.random() < 0.5:
                await self._keys.revoke(lease)
                if await self._is_there(key):
                    self._find("lease outlived", f"{key!r} is there after it was revoked")
        return None

    async def _look(self, key: bytes, kept_s: float) -> None:
        """It must be there, if no more time has passed than it lives for at the least."""
        there = await self._is_there(key)
        age_s = monotonic() - kept_s
        if not there and age_s < TTL_S / self.rate:
            self._find("lease ended early", f"{key!r} is gone {age_s:.3f} s after it was kept")

    async def _is_there(self, key: bytes) -> bool:
        return bool((await self._keys.range(Range(key))).items)

    def _find(self, name: str, told: str) -> None:
        self.findings.append(Finding(name, f"{self._name}: {told}"))

    async def end(self) -> None:
        """All that was left to itself must be gone by and by."""
        until_s = monotonic() + OUTLIVED_S
        left: list[bytes] = []
        while monotonic() < until_s:
            with suppress(Unavailable):
                found = await self._keys.range(Range(self._all, self._all + b"\xff"))
                left = [item.key for item in found.items]
                if not left:
                    return
            await asyncio.sleep(REST_S)
        self._find("lease outlived", f"{left} are there {OUTLIVED_S:g} s later")

    @property
    def _all(self) -> bytes:
        return f"{self._prefix}lease/{self._name}.".encode()
