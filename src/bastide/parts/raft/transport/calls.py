"""Questions from one host to another, over the links that their groups have.

    ask(node, payload) ──Ask(token)──► handler(sender, payload) ──Answer(token)──► payload

Nothing is sent twice: who gets no answer within his time can't know whether it was done.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from bastide.base.errors import Limited, Unavailable
from bastide.parts.raft.contract import GROUPS_MAX, Answer, AnyMessage, Ask, NodeId
from bastide.parts.raft.transport.links import Transport

GROUP = GROUPS_MAX
"""What a transport knows the calls by: no group of entries has this number."""
ANSWERING_MAX = 10_000
"""Of others' questions at once; one more is not heard."""
ASKED_MAX = 10_000
RETRY_AFTER_S = 0.1

Handler = Callable[[NodeId, bytes], Awaitable[bytes]]
"""What it raises is not told: the asker gets no answer."""


class CallsOver(Limited):
    """ASKED_MAX questions wait for their answers; nothing was asked."""


class CallLost(Unavailable):
    """The answer did not come in time, or nobody can be asked."""


class Calls:
    def __init__(self, transport: Transport, handler: Handler) -> None:
        self._transport = transport
        self._handler = handler
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._token = 0
        transport.join(GROUP, self._receive)

    async def close(self) -> None:
        self._transport.leave(GROUP)
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(CallLost("the node is closed", outcome="unknown"))
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    async def ask(self, node: NodeId, payload: bytes, *, timeout_s: float) -> bytes:
        """
        Raises:
            CallsOver. CallLost: `outcome` is 'none' if it can't have been heard.
        """
        if node not in self._transport.connected():
            raise CallLost(f"node {node} can't be reached")
        if len(self._waiting) >= ASKED_MAX:
            raise CallsOver(f"{ASKED_MAX} questions wait", retry_after_s=RETRY_AFTER_S)
        self._token += 1
        token = self._token
        future = self._waiting[token] = self._loop.create_future()
        me = self._transport.node
        self._transport.send(GROUP, [Ask(to=node, sender=me, term=0, token=token, payload=payload)])
        try:
            async with asyncio.timeout(timeout_s):
                answer: bytes = await future
                return answer
        except TimeoutError as error:
            told = f"node {node} did not answer within {timeout_s:g} s"
            raise CallLost(told, outcome="unknown") from error
        finally:
            del self._waiting[token]

    def _receive(self, messages: Sequence[AnyMessage]) -> None:
        for message in messages:
            if isinstance(message, Answer):
                future = self._waiting.get(message.token)
                if future is not None and not future.done():
                    future.set_result(message.payload)
            elif isinstance(message, Ask) and len(self._answering) < ANSWERING_MAX:
                task = self._loop.create_task(self._answer(message))
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)

    async def _answer(self, ask: Ask) -> None:
        payload = await self._handler(ask.sender, ask.payload)
        me = self._transport.node
        answer = Answer(to=ask.sender, sender=me, term=0, token=ask.token, payload=payload)
        self._transport.send(GROUP, [answer])
