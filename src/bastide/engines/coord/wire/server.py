"""Opens the door for etcd's clients."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from bastide.base.errors import Refusal
from bastide.base.rt.net import Listener
from bastide.engines.coord.model import Node
from bastide.engines.coord.service.serving import Serving
from bastide.engines.coord.wire.accounts import Accounts
from bastide.engines.coord.wire.desk import Desk
from bastide.engines.coord.wire.door import CONNECTIONS_MAX, Arrival, Door
from bastide.engines.coord.wire.gateway import make_http
from bastide.parts.http.contract import Limits
from bastide.parts.http.server.server import Server

AGAIN_S = 1.0
KNOWN_S = 2.0  # a group that elects now is served a bit later
BACKLOG = 1024
_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_etcd(serving: Serving, listeners: Sequence[Listener]) -> AsyncIterator[Door]:
    """The wire door of a town. All nodes are told where clients reach this one."""
    host, port = listeners[0].getsockname()[:2]
    async with open_wire(serving.node, listeners) as door:
        serving.node.announce_soon(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        yield door


@asynccontextmanager
async def open_wire(
    served: Node, listeners: Sequence[Listener], *, connections_max: int = CONNECTIONS_MAX
) -> AsyncIterator[Door]:
    """etcd's clients are served on these sockets, by gRPC and by JSON; nobody is before the
    accounts are known.
    """
    accounts = Accounts(served)
    with suppress(Refusal, TimeoutError):
        async with asyncio.timeout(KNOWN_S):
            await accounts.load()
    following = asyncio.ensure_future(_follow(accounts))
    door: Door | None = None
    servers: list[asyncio.Server] = []
    try:
        desk = Desk(served, accounts)
        http = Server(make_http(desk), Limits())
        await http.start([])
        door = made = Door(desk, http, connections_max=connections_max)
        loop = asyncio.get_running_loop()
        for one in listeners:
            server = await loop.create_server(lambda: Arrival(made), sock=one, backlog=BACKLOG)
            servers.append(server)
        yield door
    finally:
        for server in servers:
            server.close()
        if door is not None:
            await door.close()
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


async def _follow(accounts: Accounts) -> None:
    """For ever, over outages. Until they are known nobody is let in."""
    while True:
        try:
            if not accounts.known:
                await accounts.load()
            await accounts.follow()
        except Refusal as error:
            _log.warning("accounts are not heard of: %s", error)
        except Exception:
            _log.exception("following the accounts failed")
        await asyncio.sleep(AGAIN_S)
