"""One connection between two nodes: greeting, beats, frames. Messages go one way, from who dialled.

Two ways would save a connection a pair, and need a rule for which of two stays when both dial.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from bastide.base.rt import runtime
from bastide.parts.raft.contract import NOBODY, NodeId
from bastide.parts.raft.transport import frames
from bastide.parts.raft.transport.frames import (
    Accepted,
    Addressed,
    Challenge,
    FrameInvalid,
    Greeting,
    Hello,
    Proof,
    Refused,
)

WAITING_BYTES_MAX = 16 << 20
"""To one peer. What a slow one leaves there stays; what is above is dropped: Raft sends again."""

_log = logging.getLogger(__name__)


class Badge:
    """Who this node is, and what it must be asked by. Shared by all its connections."""

    def __init__(self, node: NodeId, cluster: str, secret: bytes) -> None:
        self.node = node
        self.cluster = cluster
        self.secret = secret

    def nonce(self) -> bytes:
        return runtime.current().chance.token(frames.NONCE_BYTES)


class _Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, badge: Badge) -> None:
        self.badge = badge
        self.is_ready = False
        self.is_lost = False
        self.heard_s = asyncio.get_running_loop().time()
        self._frames = frames.Reader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.heard_s = asyncio.get_running_loop().time()
        try:
            for content in self._frames.feed(data):
                self._take(content)
                if self.is_lost:
                    return
        except FrameInvalid as error:
            _log.warning("the connection with %s is closed: %s", self.peer_name, error)
            self.cut()

    def _take(self, content: bytes) -> None:
        raise NotImplementedError

    @property
    def peer_name(self) -> str:
        return str(self.transport.get_extra_info("peername"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True

    def greet(self, greeting: Greeting) -> None:
        self.transport.write(frames.frame_greeting(greeting))

    def beat(self, silent_since_s: float) -> None:
        """Called again and again. A peer that is silent too long is gone, whatever TCP thinks."""
        if self.heard_s < silent_since_s:
            _log.info("%s is silent; the connection is closed", self.peer_name)
            self.cut()
        elif self.is_ready:
            self.transport.write(frames.BEAT)

    def cut(self) -> None:
        self.is_lost = True
        self.transport.abort()


class Dialled(_Connection):
    """`ended` tells why it ended, "" if it was once accepted and then lost."""

    def __init__(self, badge: Badge, to: NodeId) -> None:
        super().__init__(badge)
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[str] = loop.create_future()
        self.is_full = False
        self._was_accepted = False
        self._hello = Hello(frames.VERSION, badge.cluster, badge.node, to, badge.nonce())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=WAITING_BYTES_MAX)
        self.greet(self._hello)

    def _take(self, content: bytes) -> None:
        match frames.read_greeting(content):
            case Challenge(nonce, proof) if not self.is_ready:
                secret = self.badge.secret
                if not frames.is_proof(
                    proof, frames.proof_of(secret, "accept", self._hello, nonce)
                ):
                    self._refused("its secret is another one")
                else:
                    self.greet(Proof(frames.proof_of(secret, "dial", self._hello, nonce)))
            case Accepted() if not self.is_ready:
                self.is_ready = True
                self._was_accepted = True
            case Refused(reason):
                self._refused(reason)
            case other:
                raise FrameInvalid(f"{type(other).__name__} was not expected")

    def _refused(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)
        self.cut()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.is_ready = False
        if not self.ended.done():
            self.ended.set_result("" if self._was_accepted else "it closed the connection")

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False


class Door(Protocol):
    """What an accepted connection asks of its node."""

    def knows(self, node: NodeId) -> bool: ...

    def greeted(self, connection: "AcceptedFrom") -> None: ...

    def deliver(self, node: NodeId, messages: Sequence[Addressed]) -> None: ...

    def gone(self, connection: "AcceptedFrom") -> None: ...


class AcceptedFrom(_Connection):
    """`node` is NOBODY until it has proven who it is."""

    def __init__(self, badge: Badge, door: Door, is_welcome: Callable[[], bool]) -> None:
        super().__init__(badge)
        self.node = NOBODY
        self._door = door
        self._is_welcome = is_welcome
        self._hello: Hello | None = None
        self._nonce = badge.nonce()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self._is_welcome():
            self._refuse("too many connections")

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._door.gone(self)

    def _take(self, content: bytes) -> None:
        if self.is_ready:
            self._deliver(content)
            return
        match frames.read_greeting(content):
            case Hello() as hello if self._hello is None:
                self._hello = hello
                if reason := self._reason_against(hello):
                    self._refuse(reason)
                else:
                    proof = frames.proof_of(self.badge.secret, "accept", hello, self._nonce)
                    self.greet(Challenge(self._nonce, proof))
            case Proof(proof) if self._hello:
                self._admit(self._hello, proof)
            case other:
                raise FrameInvalid(f"{type(other).__name__} was not expected")

    def _reason_against(self, hello: Hello) -> str:
        badge = self.badge
        if hello.version != frames.VERSION:
            return f"protocol {hello.version}; {frames.VERSION} is spoken here"
        if hello.cluster != badge.cluster:
            return f"cluster {hello.cluster!r}; this is {badge.cluster!r}"
        if hello.to != badge.node:
            return f"node {hello.to} was dialled; this is {badge.node}"
        if not self._door.knows(hello.node):
            return f"node {hello.node} is not known here"
        return ""

    def _admit(self, hello: Hello, proof: bytes) -> None:
        wanted = frames.proof_of(self.badge.secret, "dial", hello, self._nonce)
        if not frames.is_proof(proof, wanted):
            self._refuse("the secret is another one")
            return
        self.node = hello.node
        self.is_ready = True
        self._frames.frame_bytes_max = frames.FRAME_BYTES_MAX
        self.greet(Accepted())
        self._door.greeted(self)

    def _refuse(self, reason: str) -> None:
        _log.warning("%s was refused: %s", self.peer_name, reason)
        self.greet(Refused(reason))
        self.is_lost = True
        self.transport.close()

    def _deliver(self, content: bytes) -> None:
        messages = frames.read_messages(content)
        for _, message in messages:
            if message.sender != self.node or message.to != self.badge.node:
                raise FrameInvalid(
                    f"a message from {message.sender} to {message.to} came from {self.node}"
                )
        self._door.deliver(self.node, messages)
