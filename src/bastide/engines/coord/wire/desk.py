"""What a handler of etcd's API has before it, whichever way it was asked: gRPC or the gateway."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import msgspec

from bastide.base.rt import runtime
from bastide.engines.coord.contract import Standing
from bastide.engines.coord.core.protocol.messages import messages
from bastide.engines.coord.core.protocol.statuses import NO_LEADER, CallFailed
from bastide.engines.coord.model import Node
from bastide.engines.coord.wire.accounts import Accounts

STANDING_S = 0.1  # a header's term may be so old


class Asker(msgspec.Struct, frozen=True):
    """Who calls. `token` is what `Authenticate` gave; `needs_leader`: rather an error than an
    answer of a node that is cut off.
    """

    token: str = ""
    needs_leader: bool = False


class Talk(Protocol):
    """A call in which one side or both send more than once."""

    asker: Asker

    async def receive(self) -> Any | None:
        """None: the client sends no more."""
        ...

    async def send(self, message: Any) -> None:
        """Waits while the client takes nothing."""
        ...


Unary = Callable[["Desk", Asker, Any], Coroutine[Any, Any, Any]]
Streaming = Callable[["Desk", Talk], Coroutine[Any, Any, None]]
Handler = Unary | Streaming


class Desk:
    """One for all connections."""

    def __init__(self, node: Node, accounts: Accounts) -> None:
        self.node = node
        self.accounts = accounts
        self._standing: Standing | None = None
        self._until_s = 0.0
        self._after: set[asyncio.Task[Any]] = set()

    async def standing(self) -> Standing:
        self._standing = await self.node.standing()
        self._until_s = runtime.monotonic() + STANDING_S
        return self._standing

    async def header(self, revision: int | None = None) -> Any:
        """Of a reply. None: the store's revision, as it is now."""
        standing = self._standing
        if standing is None or revision is None or runtime.monotonic() > self._until_s:
            standing = await self.standing()
        return messages().ResponseHeader(
            cluster_id=standing.cluster,
            member_id=standing.member,
            revision=standing.revision if revision is None else revision,
            raft_term=standing.term,
        )

    async def require_leader(self, asker: Asker) -> None:
        """
        Raises:
            NO_LEADER
        """
        if asker.needs_leader and not (await self.standing()).leader:
            raise CallFailed(NO_LEADER)

    def afterwards(self, work: Coroutine[Any, Any, Any]) -> None:
        """What is to be done though its caller has left."""
        task = asyncio.ensure_future(work)
        self._after.add(task)
        task.add_done_callback(self._after.discard)

    async def close(self) -> None:
        await asyncio.gather(*self._after, return_exceptions=True)
