"""A connection that is made again whenever it is lost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from bastide.base.work import jittered
from bastide.parts.redis.connection import Connection
from bastide.parts.redis.contract import Address, RedisOptions, ServerAway
from bastide.parts.redis.reply import Reply

T = TypeVar("T")

BACKOFF_FIRST_S = 0.02
BACKOFF_MAX_S = 1.0

Push = Callable[[Sequence[Reply]], None]


class Greeting:
    """What a user of the link does with each new connection; this one does nothing."""

    async def greet(self, connection: Connection) -> None:
        """Whatever must be so before anybody calls. An error means: not this connection."""

    def push(self, items: Sequence[Reply]) -> None:
        """The server says something unasked, on the connection greeted last."""

    def part(self) -> None:
        """The connection is lost."""


class Link:
    """One server. While it is away, calls are refused at once; it is tried again, ever later, at
    most BACKOFF_MAX_S apart.
    """

    def __init__(self, address: Address, options: RedisOptions, greeting: Greeting) -> None:
        self.address = address
        self._options = options
        self._greeting = greeting
        self._connection: Connection | None = None
        self._opened = asyncio.Event()
        self._told = "nobody has called there yet"

    @property
    def connection(self) -> Connection:
        """
        Raises:
            ServerAway
        """
        if self._connection is None:
            raise ServerAway(f"{self.address.name} is away: {self._told}")
        return self._connection

    async def twice(self, ask: Callable[[Connection], Awaitable[T]]) -> T:
        """`ask` of the connection, and once more of the next one if this one is lost meanwhile and
        `timeout_s` is not over; for what may be done twice.
        """
        connection, loop = self.connection, asyncio.get_running_loop()
        until_s = loop.time() + self._options.timeout_s
        try:
            return await ask(connection)
        except ServerAway as error:
            try:
                async with asyncio.timeout_at(until_s):
                    await self._opened.wait()
                    return await ask(self.connection)
            except TimeoutError:
                raise error from None

    async def health(self) -> None:
        await self.connection.call("PING")

    async def keep(self) -> None:
        """Connects, and again, until cancelled."""
        backoff_s = BACKOFF_FIRST_S
        while True:
            try:
                connection = await self._connect()
                backoff_s = BACKOFF_FIRST_S
                await connection.lost
            except Exception as error:  # whatever it is: `health` tells it, the next may succeed
                self._told = str(error) or type(error).__name__
                await asyncio.sleep(jittered(backoff_s))
                backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)
            finally:
                self._forget()

    async def wait(self) -> None:
        """Until the first connection stands, or `connect_s` is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._options.connect_s):
                await self._opened.wait()

    async def _connect(self) -> Connection:
        async with asyncio.timeout(self._options.connect_s):
            loop, timeout_s = asyncio.get_running_loop(), self._options.timeout_s
            _, connection = await loop.create_connection(
                lambda: Connection(timeout_s=timeout_s, on_push=self._greeting.push),
                self.address.host,
                self.address.port,
            )
            try:
                await _log_in(connection, self.address)
                await self._greeting.greet(connection)
            except BaseException:
                connection.give_up()
                self._greeting.part()
                raise
        self._connection = connection
        self._opened.set()
        return connection

    def _forget(self) -> None:
        if self._connection is not None:
            self._opened.clear()
            self._connection.give_up()
            self._connection = None
            self._told = "the connection was lost"
            self._greeting.part()


async def _log_in(connection: Connection, address: Address) -> None:
    """RESP3, since pushes and replies then share the connection, and an order."""
    login = ("AUTH", address.user or "default", address.password) if address.password else ()
    await connection.call("HELLO", 3, *login, "SETNAME", "bastide")
    if address.database:
        await connection.call("SELECT", address.database)


@asynccontextmanager
async def linked(
    address: Address, options: RedisOptions, greeting: Greeting | None = None
) -> AsyncIterator[Link]:
    """A link, kept within the block, which begins even if the server is away."""
    link = Link(address, options, greeting or Greeting())
    keeping = asyncio.create_task(link.keep(), name=f"redis {address.name}")
    try:
        await link.wait()
        yield link
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
