"""The network between nodes: names, addresses, ports, and what each link does to what passes.

A link is one direction between two hosts, so that a cut may be of one direction, of some pairs, or
of all. Its delay is drawn for each segment: about `latency_s`, one in a hundred ten times as much.
What is lost comes later on a stream (the sender sends it again) and never as a datagram.
"""

import errno
import os
from collections.abc import Iterable, Sequence
from itertools import count
from typing import NoReturn, Protocol
from zlib import crc32

from bastide.base.rt.net import NameUnknown
from bastide.base.rt.runtime import Dice
from bastide.parts.sim.contract import NODES_MAX
from bastide.parts.sim.draws import Draws
from bastide.parts.sim.loop import Process, SimLoop

LOOPBACK_NS = 20_000
TAIL = 0.01  # of segments take TAIL_FACTOR times as long
TAIL_FACTOR = 10.0
AGAIN_NS = 200_000_000  # after a loss the sender waits so long, as Linux does at least
EPHEMERAL_FIRST = 32_768
ANY = ("", "0.0.0.0", "::")  # noqa: S104 (an address that a program may name)
HERE = ("127.0.0.1", "localhost", "::1")

Address = tuple[str, int]


class Weather:
    """What links are like in this world; a link that differs says so itself."""

    def __init__(self) -> None:
        self.latency_s = 0.001
        self.loss = 0.0
        self.duplicates = 0.0
        self.disorder = 0.0  # of datagrams that come late, behind others
        self.splits = 0.0  # of segments that come in two pieces
        self.window_bytes = 65_536
        self.gives_up_s = 30.0  # a sender that nobody answers
        self.connect_s = 60.0  # a caller that nobody answers


class Link:
    """From one host to another. `cuts` counts who has cut it: each mends its own cut."""

    def __init__(self, weather: Weather, random: Dice, *, is_loopback: bool) -> None:
        self.weather = weather
        self.random = random
        self.is_loopback = is_loopback
        self.cuts = 0
        self.slower = 1.0
        self.more_loss = 0.0
        self.bytes_per_s = 125_000_000.0

    def delay_ns(self, size: int) -> int:
        """Of one segment of a stream, with what sending it again takes if it is lost."""
        if self.is_loopback:
            return LOOPBACK_NS
        drawn = self.random.random()
        factor = (0.5 + drawn) * self.slower
        if drawn < TAIL:
            factor *= TAIL_FACTOR
        delay_ns = int((self.weather.latency_s * factor + size / self.bytes_per_s) * 1e9)
        loss = self.weather.loss + self.more_loss
        if loss:
            wait_ns = AGAIN_NS
            while self.random.random() < loss:
                delay_ns += wait_ns
                wait_ns *= 2
        return delay_ns

    def loses(self) -> bool:
        """Whether this datagram is lost."""
        loss = 0.0 if self.is_loopback else self.weather.loss + self.more_loss
        return self.cuts > 0 or self.random.random() < loss

    def mend(self) -> None:
        self.cuts, self.slower, self.more_loss = 0, 1.0, 0.0


class Listening(Protocol):
    """What sits on a port of a host: a listener of streams, or a datagram's end."""

    process: Process
    ip: str

    def drop(self) -> None:
        """Its process has died."""
        ...


class Connected(Protocol):
    process: Process
    peer_host: str

    def cut_off(self) -> None: ...

    def end(self) -> None:
        """Its process has died, and the kernel tells the peer."""
        ...

    def vanish(self) -> None:
        """The machine has died; nobody tells the peer."""
        ...


class Host:
    """A machine: its address, its ports, the connections of what runs on it."""

    def __init__(self, name: str, ip: str) -> None:
        self.name = name
        self.ip = ip
        self.is_up = True
        self.tcp: dict[int, Listening] = {}
        self.udp: dict[int, Listening] = {}
        self.streams: dict[Connected, None] = {}
        self._ephemeral = count(EPHEMERAL_FIRST)

    def free_port(self, ports: dict[int, Listening]) -> int:
        return next(port for port in self._ephemeral if port not in ports)

    def close_all(self) -> None:
        """The process has died; the kernel closes what it had."""
        self._drop_ports()
        streams, self.streams = self.streams, {}
        for stream in streams:
            stream.end()

    def lose_power(self) -> None:
        self.is_up = False
        self._drop_ports()
        streams, self.streams = self.streams, {}
        for stream in streams:
            stream.vanish()

    def _drop_ports(self) -> None:
        for ports in (self.tcp, self.udp):
            for one in tuple(ports.values()):
                one.drop()
            ports.clear()


class Net:
    """Of one world. Nodes are named by themselves, by address, or as localhost from within."""

    def __init__(self, loop: SimLoop, draws: Draws) -> None:
        self.loop = loop
        self.weather = Weather()
        self.random = draws.noise("net")
        self._draws = draws
        self.hosts: dict[str, Host] = {}
        self._by_ip: dict[str, Host] = {}
        self._links: dict[tuple[str, str], Link] = {}

    def add_host(self, name: str) -> Host:
        assert name not in self.hosts, f"two nodes are called {name}"
        assert len(self.hosts) < NODES_MAX, f"at most {NODES_MAX} nodes"
        host = Host(name, f"10.0.0.{len(self.hosts) + 1}")
        self.hosts[name] = self._by_ip[host.ip] = host
        return host

    def link(self, source: str, target: str) -> Link:
        found = self._links.get((source, target))
        if found is None:
            assert source in self.hosts, source
            assert target in self.hosts, target
            random = self._draws.noise(f"link {source}>{target}")
            found = Link(self.weather, random, is_loopback=source == target)
            self._links[source, target] = found
        return found

    # Cuts: nothing passes, and nobody is told

    def cut(self, sources: Iterable[str], targets: Iterable[str]) -> Sequence[Link]:
        """Nothing passes from any of the sources to any of the targets; the other way it does."""
        targets = tuple(targets)
        cut = [self.link(a, b) for a in sources for b in targets if a != b]
        for link in cut:
            link.cuts += 1
        return cut

    def part(self, one: Iterable[str], other: Iterable[str]) -> Sequence[Link]:
        """Nothing passes between the two groups, either way."""
        one, other = tuple(one), tuple(other)
        return [*self.cut(one, other), *self.cut(other, one)]

    def isolate(self, name: str) -> Sequence[Link]:
        return self.part([name], [other for other in self.hosts if other != name])

    def mend(self, links: Iterable[Link]) -> None:
        """Take back one cut of each of them."""
        for link in links:
            link.cuts = max(0, link.cuts - 1)

    def heal(self) -> None:
        """All links are as the world's weather is."""
        for link in self._links.values():
            link.mend()

    def reset(self, one: str, other: str) -> None:
        """Connections between the two end with a reset, at both ends."""
        for stream in tuple(self.hosts[one].streams):
            if stream.peer_host == other:
                stream.cut_off()

    def forget(self) -> None:
        """The world is over."""
        for host in self.hosts.values():
            host.tcp.clear()
            host.udp.clear()
            host.streams.clear()

    def passes(self, source: str, target: str, data: bytes) -> None:
        """What arrives is in the hash, and in the trace."""
        checksum = crc32(data)
        self.loop.mix(checksum)
        if self.loop.trace is not None:
            self.loop.trace(target, f"gets {len(data)} bytes of {source} ({checksum:08x})")

    # Names and ports

    def host_of(self, process: Process) -> Host:
        return self.hosts[process.name]

    def resolve(self, process: Process, name: str | None) -> str:
        """The address that `name` has for this process.

        Raises:
            NameUnknown
        """
        if name is None or name in ANY:
            return "0.0.0.0"  # noqa: S104 (of a simulated machine)
        if name in HERE:
            return "127.0.0.1"
        if name in self.hosts:
            return self.hosts[name].ip
        if name.replace(".", "").isdigit():  # an address, whether somebody has it or not
            return name
        raise NameUnknown(-2, f"no node is called {name}")

    def reach(self, process: Process, ip: str) -> Host | None:
        """The host at the address, as this process sees it; None: nobody has it."""
        if ip in HERE or ip in ANY:
            return self.host_of(process)
        return self._by_ip.get(ip)

    def own_ip(self, process: Process, ip: str) -> str:
        """An address to bind.

        Raises:
            OSError: it is another machine's.
        """
        ip = self.resolve(process, ip)
        if ip not in (*ANY, *HERE, self.host_of(process).ip):
            refuse(errno.EADDRNOTAVAIL)
        return ip


def refuse(number: int) -> NoReturn:
    raise OSError(number, os.strerror(number))
