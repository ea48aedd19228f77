"""`redis://user:password@host:6379/0`: to whoever listens on the same server.

    bastide:0:chat:user:7
            │ ╰─┬╯ ╰─┬──╯
            │   │    the channel
            │   the client
            the URL's database: Redis itself has channels in common to all databases

One connection for all that a process publishes and hears: RESP3 lets pushes and replies share it.
Redis hands messages to one connection in the order in which it took them, so that all processes
hear one order.

    MULTI  SUBSCRIBE  DISCARD      may we? each has a reply, whatever the answer
    SUBSCRIBE  PING                a push, which is no reply; PONG: the server has taken it in

SUBSCRIBE has no reply if it is taken, and one if it is refused: then everybody's replies would be
one too early. So it is first asked for where it has one always, and not done.

Redis never says that it is gone: who only listens would wait for ever on a connection whose other
end has vanished, so there is a PING each BEAT_S.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from bastide.base.errors import Invalid
from bastide.base.manifest import Use
from bastide.base.rt import runtime
from bastide.base.settings import BackendUrl
from bastide.engines.pubsub.contract import CHANNEL_BYTES_MAX, MESSAGE_BYTES_MAX, PubSubAway
from bastide.engines.pubsub.core.glob import is_literal
from bastide.engines.pubsub.model import Ears
from bastide.parts.redis.connection import Connection
from bastide.parts.redis.contract import RedisOptions, ServerAway, ServerRefused
from bastide.parts.redis.core import addresses
from bastide.parts.redis.link import Greeting, Link, linked
from bastide.parts.redis.reply import Reply

SPACE = "bastide"
BEAT_S = 1.0


@asynccontextmanager
async def open_redis(url: BackendUrl, use: Use | None = None) -> AsyncIterator["RedisBackend"]:
    first, *others = addresses(url.location)
    if others:
        raise Invalid(f"{url.safe}: one server is expected; others would not hear each other")
    clients = Clients()
    async with linked(first, url.options(RedisOptions), clients) as link:
        beating = asyncio.create_task(_beat(link), name=f"pubsub beat {first.name}")
        try:
            yield RedisBackend(link, clients, f"{SPACE}:{first.database}")
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)


async def _beat(link: Link) -> None:
    """A call that is late ends the connection: whoever listens on it is told."""
    while True:
        await asyncio.sleep(BEAT_S)
        with suppress(ServerAway, ServerRefused):
            await link.health()


class Clients(Greeting):
    """Whom a message is for: the client's name stands before the channel."""

    def __init__(self) -> None:
        self.ears: dict[bytes, Ears] = {}
        self._strange = runtime.current().metrics.counter(
            "bastide_pubsub_strange_total",
            "Messages from outside that publish would have refused, dropped.",
        )

    async def greet(self, connection: Connection) -> None:
        """A user who may not MULTI would SUBSCRIBE where we only ask."""
        for reply in await connection.call_many([("MULTI",), ("DISCARD",)]):
            if isinstance(reply, ServerRefused):
                raise reply

    def push(self, items: Sequence[Reply]) -> None:
        match items:
            case [b"message", channel, value]:
                self._hear(channel, channel, value)
            case [b"pmessage", pattern, channel, value]:
                self._hear(pattern, channel, value)

    def part(self) -> None:
        for ears in self.ears.values():
            ears.lose("the connection to Redis was lost")

    def _hear(self, pattern: bytes, channel: bytes, value: bytes) -> None:
        """Anybody may publish there: this is the door, and it takes what `publish` takes."""
        client, name = _parted(channel)
        ears = self.ears.get(client)
        if ears is None:
            return
        fits = 0 < len(name) <= CHANNEL_BYTES_MAX and len(value) <= MESSAGE_BYTES_MAX
        try:
            told = name.decode() if fits else ""
        except UnicodeDecodeError:
            told = ""
        if not told:
            self._strange.add()
        elif pattern is channel:
            ears.hear(told, told, value)
        else:
            ears.hear(_parted(pattern)[1].decode(), told, value)


class RedisBackend:
    """`model.PubSubBackend`."""

    def __init__(self, link: Link, clients: Clients, space: str) -> None:
        self._link = link
        self._clients = clients
        self._space = space

    @asynccontextmanager
    async def carrier(self, client: str, ears: Ears) -> AsyncIterator["RedisCarrier"]:
        name = client.encode()
        assert name not in self._clients.ears, f"{client} is opened once for each backend"
        self._clients.ears[name] = ears
        try:
            yield RedisCarrier(self._link, self._space, client)
        finally:
            del self._clients.ears[name]


class RedisCarrier:
    """`model.Carrier`."""

    def __init__(self, link: Link, space: str, client: str) -> None:
        self._link = link
        self._space = space
        self._before = f"{space}:{client}:"

    async def publish(self, channel: str, value: bytes) -> None:
        await self._published(self._before + channel, value)

    async def listen(self, pattern: str) -> None:
        subscribe = (_verb(pattern), self._before + pattern)
        try:
            connection = self._link.connection
            _, asked, _ = await connection.call_many([("MULTI",), subscribe, ("DISCARD",)])
            if isinstance(asked, ServerRefused) and str(asked).startswith("NOPERM"):
                raise asked
            connection.send(*subscribe)
            await _taken_in(connection)
        except (ServerAway, ServerRefused) as error:
            raise _away(error) from error

    def unlisten(self, pattern: str) -> None:
        with suppress(ServerAway):  # the subscription went with the connection
            self._link.connection.send(_verb(pattern, "UN"), self._before + pattern)

    async def health(self) -> None:
        """A PING would answer where the server's access list forbids every message."""
        await self._published(f"{self._space}:", b"")

    async def _published(self, channel: str, value: bytes) -> None:
        try:
            await self._link.connection.call("PUBLISH", channel, value)
        except (ServerAway, ServerRefused) as error:
            raise _away(error) from error


async def _taken_in(connection: Connection) -> None:
    """Whatever was sent before."""
    try:
        await connection.call("PING")
    except ServerRefused as error:  # of what was sent: so every later reply is one too early
        connection.give_up(error)
        raise


def _verb(pattern: str, un: str = "") -> str:
    return f"{un}SUBSCRIBE" if is_literal(pattern) else f"P{un}SUBSCRIBE"


def _parted(name: bytes) -> tuple[bytes, bytes]:
    _, _, client, rest = name.split(b":", 3)
    return client, rest


def _away(error: ServerAway | ServerRefused) -> PubSubAway:
    outcome = error.outcome if isinstance(error, ServerAway) else "none"
    return PubSubAway(str(error), outcome=outcome)
