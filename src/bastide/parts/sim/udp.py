"""Datagrams: lost, doubled and out of order, as the weather has it."""

import asyncio
import errno
import os
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from bastide.parts.sim.loop import Process
from bastide.parts.sim.net import Address, Link, Net

DATAGRAM_BYTES_MAX = 65_507
LATE_FACTOR = 20


class DatagramEnd(asyncio.DatagramTransport):
    """A socket of datagrams; `there` is the only peer, if there is one."""

    def __init__(
        self, net: Net, process: Process, here: Address | None, there: Address | None
    ) -> None:
        super().__init__()
        host = net.host_of(process)
        self._net = net
        self.process = process
        self._context = copy_context()
        self.ip = net.own_ip(process, here[0]) if here else host.ip
        self.port = (here[1] if here else 0) or host.free_port(host.udp)
        if self.port in host.udp:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        host.udp[self.port] = self
        self._there = there
        self._closing = False
        self._protocol: Any = None

    def begin(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol
        protocol.connection_made(self)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        known = {"sockname": (self.ip, self.port), "peername": self._there}
        return known.get(name, default)

    def sendto(self, data: Any, addr: Any = None) -> None:
        to = addr or self._there
        if to is None:
            raise ValueError("to whom?")
        if len(data) > DATAGRAM_BYTES_MAX:
            error = OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
            self._net.loop.call_soon(self._protocol.error_received, error, context=self._context)
            return
        target = self._net.reach(self.process, self._net.resolve(self.process, to[0]))
        if target is None or self._closing or not self.process.alive:
            return
        link = self._net.link(self.process.name, target.name)
        self._send(link, bytes(data), to[1], target.name)

    def _send(self, link: Link, data: bytes, port: int, target: str) -> None:
        weather, random = link.weather, link.random
        copies = 2 if weather.duplicates and random.random() < weather.duplicates else 1
        for _ in range(copies):
            if link.loses():
                continue
            late = weather.disorder and random.random() < weather.disorder
            delay_ns = link.delay_ns(len(data)) * (LATE_FACTOR if late else 1)
            sender = (self._net.host_of(self.process).ip, self.port)
            self._net.loop.plan(delay_ns, _arrive, self._net, link, target, port, data, sender)

    def arrived(self, data: bytes, sender: Address) -> None:
        if not self._closing:
            self._net.passes(sender[0], self.process.name, data)
            received: Callable[[bytes, Address], None] = self._protocol.datagram_received
            self._net.loop.call_soon(received, data, sender, context=self._context)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._net.host_of(self.process).udp.pop(self.port, None)
            self._net.loop.call_soon(self._protocol.connection_lost, None, context=self._context)

    abort = close

    def drop(self) -> None:
        self._closing = True


def _arrive(net: Net, link: Link, target: str, port: int, data: bytes, sender: Address) -> None:
    host = net.hosts[target]
    found = host.udp.get(port)
    if isinstance(found, DatagramEnd) and host.is_up and not link.cuts:
        found.arrived(data, sender)
