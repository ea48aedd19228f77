"""The loop with its network: what asyncio's streams, servers and datagrams ask of a loop."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from bastide.base.rt.net import AF_INET, SOCK_STREAM
from bastide.parts.sim.loop import SimLoop
from bastide.parts.sim.net import Net
from bastide.parts.sim.tcp import Call, Factory, Listener, Stream
from bastide.parts.sim.udp import DatagramEnd

NO_TLS = "a simulation has no TLS: it draws from the machine's chance"


class HostedLoop(SimLoop):
    net: Net

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 (as asyncio has it)
        proto: int = 0,
        flags: int = 0,
    ) -> list[tuple[Any, ...]]:
        name = host.decode() if isinstance(host, bytes) else host
        ip = self.net.resolve(self.process, name)
        if ip == "0.0.0.0" and not flags & 1:  # noqa: S104 (without AI_PASSIVE: to connect to)
            ip = "127.0.0.1"
        return [(AF_INET, type or SOCK_STREAM, proto or 6, "", (ip, int(port or 0)))]

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> tuple[str, str]:
        names = [host.name for host in self.net.hosts.values() if host.ip == sockaddr[0]]
        return (names[0] if names else sockaddr[0]), str(sockaddr[1])

    async def create_connection(
        self,
        protocol_factory: Factory,
        host: str | None = None,
        port: int | None = None,
        *,
        ssl: object = None,
        **_: object,
    ) -> tuple[Stream, Any]:
        _refuse_tls(ssl)
        there = (self.net.resolve(self.process, host), int(port or 0))
        stream = await Call(self.net, self.process, there).connected()
        protocol = protocol_factory()
        stream.begin(protocol)
        return stream, protocol

    async def create_server(  # type: ignore[override] # as above
        self,
        protocol_factory: Factory,
        host: str | Sequence[str] | None = None,
        port: int | None = None,
        *,
        sock: object = None,
        ssl: object = None,
        start_serving: bool = True,
        **_: object,
    ) -> "Server":
        _refuse_tls(ssl)
        if sock is not None:
            if not isinstance(sock, Listener):
                raise TypeError(f"{sock!r} is no listener of the simulation: see base.rt.net.bind")
            listeners = [sock]
        else:
            hosts = [host] if host is None or isinstance(host, str) else host
            process, own = self.process, [self.net.resolve(self.process, one) for one in hosts]
            listeners = [Listener(self.net, process, ip, port or 0) for ip in dict.fromkeys(own)]
        server = Server(self, listeners, protocol_factory)
        if start_serving:
            await server.start_serving()
        return server

    async def create_datagram_endpoint(  # type: ignore[override] # as above
        self,
        protocol_factory: Factory,
        local_addr: tuple[str, int] | None = None,
        remote_addr: tuple[str, int] | None = None,
        **_: object,
    ) -> tuple[DatagramEnd, Any]:
        made = DatagramEnd(self.net, self.process, local_addr, remote_addr)
        protocol = protocol_factory()
        made.begin(protocol)
        return made, protocol


class Server(asyncio.AbstractServer):
    """Listeners, and a protocol for each who comes."""

    def __init__(self, loop: SimLoop, listeners: Sequence[Listener], factory: Factory) -> None:
        self._loop = loop
        self._listeners = tuple(listeners)
        self._factory = factory
        self._serving = False
        self._closed: asyncio.Future[None] = loop.create_future()
        self._streams: dict[Stream, None] = {}

    @property
    def sockets(self) -> tuple[Listener, ...]:
        return () if self._closed.done() else self._listeners

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def is_serving(self) -> bool:
        return self._serving

    async def start_serving(self) -> None:
        if not self._serving:
            self._serving = True
            for listener in self._listeners:
                listener.serve(self._accepter(listener))

    async def serve_forever(self) -> None:
        await self.start_serving()
        try:
            await self.wait_closed()
        finally:
            self.close()

    def close(self) -> None:
        self._serving = False
        for listener in self._listeners:
            listener.close()
        if not self._closed.done():
            self._closed.set_result(None)

    def close_clients(self) -> None:
        for stream in tuple(self._streams):
            stream.close()

    def abort_clients(self) -> None:
        for stream in tuple(self._streams):
            stream.abort()

    async def wait_closed(self) -> None:
        await asyncio.shield(self._closed)

    def _accepter(self, listener: Listener) -> Callable[[Stream], None]:
        def accept(stream: Stream) -> None:
            self._loop.call_soon(self._begin, stream, context=stream.context)

        return accept

    def _begin(self, stream: Stream) -> None:
        if stream.gone:
            return
        self._streams[stream] = None
        stream.begin(self._factory())


def _refuse_tls(ssl: object) -> None:
    if ssl:
        raise NotImplementedError(NO_TLS)
