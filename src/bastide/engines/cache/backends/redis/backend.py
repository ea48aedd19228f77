"""`redis://user:password@one:6379,two:6379/0?near_bytes_max=16777216&timeout_s=0.25`."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from bastide.base.fence import Fence
from bastide.base.manifest import Use
from bastide.base.rt import runtime
from bastide.base.settings import BackendUrl
from bastide.engines.cache.backends.redis.server import Lease, Server
from bastide.engines.cache.contract import LOAD_S_MAX, CacheAway, CountRefused
from bastide.engines.cache.core.kept import Kept, cost
from bastide.engines.cache.core.s3fifo import S3Fifo
from bastide.engines.cache.model import ABSENT, CacheRedisOptions, Entry, Forget, Hearing
from bastide.parts.redis.connection import Connection
from bastide.parts.redis.contract import Command, ServerAway, ServerRefused, Word
from bastide.parts.redis.core import addresses
from bastide.parts.redis.link import linked
from bastide.parts.ring.core import Ring

VALUE, TOKEN, SUM, FENCE = b"v", b"t", b"n", b"f"
TOKEN_BYTES = 16
FAILED = (ServerAway, ServerRefused)
OVERFLOW = "ERR increment or decrement would overflow"


@asynccontextmanager
async def open_redis(url: BackendUrl, use: Use | None = None) -> AsyncIterator["RedisBackend"]:
    options = url.options(CacheRedisOptions)
    async with AsyncExitStack() as stack:
        servers = {address.name: Server() for address in addresses(url.location)}
        opening = (
            stack.enter_async_context(linked(address, options, servers[address.name]))
            for address in addresses(url.location)
        )
        for server, link in zip(servers.values(), await asyncio.gather(*opening), strict=True):
            server.link = link
            stack.push_async_callback(server.leave)
        yield RedisBackend(servers, options)


class RedisBackend:
    """`model.CacheBackend`."""

    def __init__(self, servers: dict[str, Server], options: CacheRedisOptions) -> None:
        self._servers = servers
        self._options = options

    @asynccontextmanager
    async def store(self, client: str, forget: Forget) -> AsyncIterator["RedisStore"]:
        store = RedisStore(client, self._servers, self._options.near_bytes_max, forget)
        for server in self._servers.values():
            server.attach(client.encode(), store)
        try:
            yield store
        finally:
            for server in self._servers.values():
                server.detach(client.encode())


class Near(Kept[Entry]):
    """An entry that is answered as long as it lives and its lease lasts."""

    __slots__ = ("lease",)

    def __init__(self, value: Entry, expires_s: float, lease: Lease) -> None:
        super().__init__(value, expires_s)
        self.lease = lease


class RedisStore:
    """`model.Store`."""

    def __init__(
        self, client: str, servers: dict[str, Server], near_bytes_max: int, forget: Forget
    ) -> None:
        self._client = client.encode()
        self._servers = servers
        self._ring = Ring(list(servers))
        self._near: S3Fifo[Near] = S3Fifo(near_bytes_max)
        self._reading: dict[str, object] = {}
        self._forget = forget
        self._chance = runtime.current().chance
        self._monotonic = runtime.current().clock.monotonic

    @property
    def near_bytes(self) -> int:
        return self._near.bytes_used

    def near(self, key: str) -> Entry | None:
        found = self._near.get(key)
        if found is None:
            return None
        now_s = self._monotonic()
        if now_s < found.lease.until_s and now_s < found.expires_s:
            return found.value
        return None

    def hearing(self, key: str) -> Hearing:
        return self._server(key).lease

    def changed(self, kind: bytes, key: str) -> None:
        """The server says so, of a key that was read here."""
        self._let_go(key)
        if kind == TOKEN:
            self._forget(key)

    async def get(self, key: str) -> Entry | None:
        server = self._server(key)
        try:
            return await server.link.twice(lambda connection: self._read(server, connection, key))
        except FAILED:
            return None

    async def put(self, key: str, value: bytes, ttl_s: float, fence: Fence | None = None) -> None:
        """Two steps, as a load takes them: what this one leaves in a socket brings nothing back."""
        self._let_go(key)
        server, token = self._server(key), self._new_token()
        try:
            before = await server.ask(server.link.connection, self._claim(server, key, token))
        except FAILED:
            return
        await self._keep(key, value, ttl_s, token if before is None else before, fence)

    async def begin(self, key: str) -> bytes | None:
        """The token is read too, so that its end is pushed."""
        server, token = self._server(key), self._new_token()
        asked = [self._claim(server, key, token), ("GET", self._named(server, TOKEN, key))]
        try:
            before, tracked = await server.ask_many(server.link.connection, asked)
        except FAILED:
            return None
        return tracked if tracked is not None and tracked in (before, token) else None

    async def keep(self, key: str, entry: Entry, ttl_s: float, *, token: bytes) -> None:
        await self._keep(key, entry, ttl_s, token, None)

    async def increment(self, key: str, amount: int, ttl_s: float) -> int:
        server = self._server(key)
        name = self._named(server, SUM, key)
        try:
            found = await server.run("increment", [name], amount, _ms(ttl_s))
            return int(found)
        except ServerRefused as error:
            if OVERFLOW in str(error):
                raise CountRefused(f"{amount} more are beyond 64 bits") from error
            raise CacheAway(str(error)) from error
        except ServerAway as error:
            raise CacheAway(str(error), outcome=error.outcome) from error

    async def invalidate(self, keys: Sequence[str]) -> None:
        by_server: dict[Server, list[str]] = {}
        for key in keys:
            self._let_go(key)
            by_server.setdefault(self._server(key), []).append(key)
        taking = (self._take_back(server, some) for server, some in by_server.items())
        for error in await asyncio.gather(*taking, return_exceptions=True):
            if error is not None:
                raise error

    async def health(self) -> None:
        for server in self._servers.values():
            try:
                await server.link.health()
            except FAILED as error:
                raise CacheAway(str(error)) from error

    async def _read(self, server: Server, connection: Connection, key: str) -> Entry | None:
        """Kept near, unless the key is changed while the answer is on its way to this task."""
        ticket, lease, asked_s = object(), server.lease, self._monotonic()
        name = self._named(server, VALUE, key)
        self._reading[key] = ticket
        try:
            found, ttl_ms = await server.ask_many(connection, [("GET", name), ("PTTL", name)])
            if found is None:
                return None
            entry = found[1:] if found[:1] == b"+" else ABSENT
            if self._reading.get(key) is ticket and ttl_ms > 0:
                near = Near(entry, asked_s + ttl_ms / 1000, lease)
                self._near.put(key, near, cost(key, entry))
            return entry
        finally:
            if self._reading.get(key) is ticket:
                del self._reading[key]

    async def _keep(
        self, key: str, entry: Entry, ttl_s: float, token: bytes, fence: Fence | None
    ) -> None:
        """Whoever is away forgets at once."""
        server = self._server(key)
        names = [self._named(server, VALUE, key), self._named(server, TOKEN, key)]
        values: list[Word] = [token, _stored(entry), _ms(ttl_s)]
        if fence is not None:
            names.append(self._named(server, FENCE, fence.name))
            values.append(f"{fence.token:019}")
        try:
            found = await server.run("keep", names, *values)
        except FAILED:
            return
        if fence is not None and isinstance(found, bytes):
            fence.check(int(found))

    async def _take_back(self, server: Server, keys: Sequence[str]) -> None:
        try:
            await server.take_back(self._client, keys, (VALUE, TOKEN, SUM))
        except FAILED as error:
            raise CacheAway(f"not taken back everywhere: {error}", outcome="unknown") from error

    def _let_go(self, key: str) -> None:
        self._near.remove(key)
        self._reading.pop(key, None)

    def _server(self, key: str) -> Server:
        return self._servers[self._ring.owner(key.encode())]

    def _named(self, server: Server, kind: bytes, key: str) -> bytes:
        return server.name(self._client, kind, key)

    def _claim(self, server: Server, key: str, token: bytes) -> Command:
        """Answers with the token of those who came before, if there are any."""
        name = self._named(server, TOKEN, key)
        return ("SET", name, token, "NX", "GET", "PX", _ms(LOAD_S_MAX))

    def _new_token(self) -> bytes:
        return self._chance.token(TOKEN_BYTES)


def _stored(entry: Entry) -> bytes:
    return b"-" if entry is ABSENT else b"+" + entry


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))
