"""Streams between two processes, as TCP gives them: in order, or not at all, and nobody is told.

     protocol.write -> out ~~~~> flight -------------> inbox -> protocol.data_received
                       |          window of bytes        |
                       +- full: pause_writing            +- not read: the window stays full

What is in flight arrives when its time has come and the link is not cut; else it is sent again,
ever later, until the sender gives up (`gives_up_s`). A machine that lost its power answers nothing;
when it is back it knows no such connection, and resets it. So a peer that only reads never learns:
half open, as in life. A killed process's connections are closed by its kernel: an end, or a reset.
"""

import asyncio
import errno
import os
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import Context, copy_context
from typing import Any

from bastide.parts.sim.loop import Process
from bastide.parts.sim.net import AGAIN_NS, HERE, Address, Link, Net

AGAIN_NS_MAX = 15_000_000_000
HIGH_BYTES = 65_536
RESET = 0.5  # of the connections of a killed process; the others end, as after a close
SEGMENT_BYTES_MAX = 16_384
END = b""  # in a queue of segments: the sender will send no more

Factory = Callable[[], asyncio.BaseProtocol]


class Stream(asyncio.Transport):
    """One end of a connection."""

    def __init__(
        self, net: Net, context: Context, process: Process, *, here: Address, there: Address
    ) -> None:
        super().__init__({"sockname": here, "peername": there})
        self._net = net
        self._loop = net.loop
        self.process = process
        self.context = context
        self.peer: Stream | None = None
        self.peer_host = ""
        self._protocol: asyncio.BaseProtocol | None = None
        self._is_buffered = False
        self._link: Link | None = None  # out; set by join
        self._back: Link | None = None
        self._out: deque[bytes] = deque()
        self._out_bytes = 0
        self._flight: deque[tuple[int, bytes]] = deque()
        self._flight_bytes = 0
        self._last_ns = 0
        self._again_ns = 0
        self._unheard_ns = 0  # since when nobody answers; 0: somebody does
        self._inbox: deque[bytes] = deque()
        self._inbox_bytes = 0
        self._is_told = False  # a turn that reads the inbox is ready
        self._begun = False
        self._paused = False
        self._full = False
        self._high, self._low = HIGH_BYTES, HIGH_BYTES // 4
        self._closing = False
        self._ended = False  # an END was written
        self.gone = False
        net.host_of(process).streams[self] = None

    def join(self, peer: "Stream") -> None:
        name, other = self.process.name, peer.process.name
        self.peer, self.peer_host = peer, other
        self._link, self._back = self._net.link(name, other), self._net.link(other, name)

    def begin(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand the connection to its protocol; a turn of its process."""
        self.set_protocol(protocol)
        self._begun = True
        protocol.connection_made(self)
        if self._inbox:
            self._tell()

    # What a protocol asks of its transport

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol
        self._is_buffered = isinstance(protocol, asyncio.BufferedProtocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def write(self, data: Any) -> None:
        if self._ended:
            if not self._closing:
                raise RuntimeError("Cannot call write() after write_eof()")
            return
        if not data or self.gone or not self.process.alive:
            return
        self._out.append(bytes(data))
        self._out_bytes += len(data)
        self._pump()
        if self._out_bytes > self._high and not self._full:
            self._full = True
            self.get_protocol().pause_writing()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        if not self._ended and not self.gone:
            self._ended = True
            self._out.append(END)
            self._pump()

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self.write_eof()
        self._closed_if_sent()

    def abort(self) -> None:
        if not self.gone:
            self._reset_peer()
        self._lose(None)

    def is_reading(self) -> bool:
        return not self._paused and not self._closing

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        if self._paused and not self._closing:
            self._paused = False
            if self._inbox:
                self._tell()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = HIGH_BYTES if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high, self._low = high, low

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        return self._out_bytes

    # From out to flight

    def _pump(self) -> None:
        peer, link = self.peer, self._link
        assert peer is not None
        assert link is not None
        idle = not self._flight
        window = self._net.weather.window_bytes
        while self._out and self._flight_bytes + peer._inbox_bytes < window:
            data = self._out.popleft()
            if len(data) > SEGMENT_BYTES_MAX:
                self._out.appendleft(data[SEGMENT_BYTES_MAX:])
                data = data[:SEGMENT_BYTES_MAX]
            self._out_bytes -= len(data)
            self._flight_bytes += len(data)
            for piece in self._pieces(data, link):
                due_ns = self._loop.now_ns + link.delay_ns(len(piece))
                self._last_ns = max(self._last_ns, due_ns)
                self._flight.append((self._last_ns, piece))
        if idle and self._flight:
            self._loop.plan(self._flight[0][0] - self._loop.now_ns, self._arrive)

    def _pieces(self, data: bytes, link: Link) -> tuple[bytes, ...]:
        splits = self._net.weather.splits
        if splits and len(data) > 1 and link.random.random() < splits:
            at = 1 + int(link.random.random() * (len(data) - 1))
            return data[:at], data[at:]
        return (data,)

    def _window_opened(self) -> None:
        """The peer has read: what waits is sent, and the protocol may write again."""
        if self.gone:
            return
        self._pump()
        if self._full and self._out_bytes <= self._low:
            self._full = False
            self._soon(self._resume_writing)
        self._closed_if_sent()

    def _resume_writing(self) -> None:
        if not self.gone:
            self.get_protocol().resume_writing()

    # From flight to the peer's inbox: events of the network, not of a process

    def _arrive(self) -> None:
        peer, link = self.peer, self._link
        assert peer is not None
        assert link is not None
        if not self._flight:
            return
        if link.cuts or not self._net.hosts[self.peer_host].is_up:
            self._again(self._arrive)
            return
        if peer.gone or not peer.process.alive:
            self._nobody_takes(link)
            return
        now_ns = self._loop.now_ns
        while self._flight and self._flight[0][0] <= now_ns:
            peer._take(self._flight.popleft()[1])
        self._hear()
        if self._flight:
            self._loop.plan(self._flight[0][0] - now_ns, self._arrive)

    def _nobody_takes(self, link: Link) -> None:
        """The peer's end is closed, or its process dead: its kernel resets who still sends data."""
        if any(piece for _, piece in self._flight):
            self._loop.plan(link.delay_ns(0), self._was_reset)
        self._flight.clear()

    def _take(self, piece: bytes) -> None:
        self._net.passes(self.peer_host, self.process.name, piece)
        assert self.peer is not None
        self.peer._flight_bytes -= len(piece)
        self._inbox.append(piece)
        self._inbox_bytes += len(piece)
        if self._begun and not self._is_told and not self._paused:
            self._tell()

    def _hear(self) -> None:
        """The acknowledgement of what arrived: it comes, unless the way back is cut."""
        assert self._back is not None
        if self._back.cuts:
            if not self._unheard_ns:
                self._again(self._hear)
        else:
            self._unheard_ns = self._again_ns = 0
            if self._out or self._full or self._closing:
                self._loop.plan(self._back.delay_ns(0), self._window_opened)

    def _again(self, call: Callable[[], None]) -> None:
        now_ns = self._loop.now_ns
        self._unheard_ns = self._unheard_ns or now_ns
        if not self.process.alive:
            return
        if now_ns - self._unheard_ns > self._net.weather.gives_up_s * 1e9:
            self._flight.clear()
            self._lose(TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))
            return
        self._again_ns = min(2 * self._again_ns or AGAIN_NS, AGAIN_NS_MAX)
        self._loop.plan(self._again_ns, self._unheard, call)

    def _unheard(self, call: Callable[[], None]) -> None:
        back = self._back
        if call == self._hear and back is not None and back.cuts:
            self._again(call)  # not by _hear, which is waiting already
        else:
            call()

    # From the inbox to the protocol: turns of the process

    def _tell(self) -> None:
        if not self._is_told:
            self._is_told = True
            self._soon(self._read)

    def _read(self) -> None:
        self._is_told = False
        if self._paused or self.gone or not self._inbox:
            return
        inbox, ends = self._inbox, self._inbox[-1] is END
        data = inbox[0] if len(inbox) == 1 else b"".join(inbox)
        inbox.clear()
        self._inbox_bytes = 0
        peer = self.peer
        assert peer is not None
        if peer._out and self._link is not None:
            self._loop.plan(self._link.delay_ns(0), peer._window_opened)
        if self._closing:
            if data:
                self._reset_peer()  # nobody will read it
            return
        if data:
            self._hand(data)
        if ends and not self.gone and not self.get_protocol().eof_received():  # type: ignore[attr-defined] # of every stream's protocol
            self.close()

    def _hand(self, data: bytes) -> None:
        protocol = self.get_protocol()
        if not isinstance(protocol, asyncio.BufferedProtocol):
            protocol.data_received(data)  # type: ignore[attr-defined] # of every other one
            return
        rest = memoryview(data)
        while rest:
            buffer = memoryview(protocol.get_buffer(len(rest)))
            count = min(len(buffer), len(rest))
            buffer[:count] = rest[:count]
            rest = rest[count:]
            protocol.buffer_updated(count)

    # Ends

    def _closed_if_sent(self) -> None:
        if self._closing and not self._out and not self.gone:
            self._lose(None)

    def _reset_peer(self) -> None:
        if self.peer is not None and self._link is not None:
            self._loop.plan(self._link.delay_ns(0), self._reset_arrives)

    def _reset_arrives(self) -> None:
        assert self.peer is not None
        assert self._link is not None
        if not self._link.cuts:
            self.peer._was_reset()

    def _was_reset(self) -> None:
        if self.process.alive:
            self._lose(ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)))

    def _lose(self, error: Exception | None) -> None:
        if self.gone:
            return
        self.gone = self._closing = True
        if error is not None:
            self._flight.clear()
        self._out.clear()
        self._net.host_of(self.process).streams.pop(self, None)
        self._soon(self._lost, error)

    def _lost(self, error: Exception | None) -> None:
        if self._protocol is not None:
            self._protocol.connection_lost(error)

    def end(self) -> None:
        """The process has died: the peer gets a reset, or what was sent and an end."""
        if self.gone:
            return
        self.gone = self._closing = True
        self._out.clear()
        if self._net.random.random() < RESET:
            self._flight.clear()
            self._reset_peer()
        else:
            self._out.append(END)
            self._pump()

    def vanish(self) -> None:
        """The machine has died: what it sent is on its way."""
        self.gone = self._closing = True
        self._out.clear()

    def cut_off(self) -> None:
        """A reset that comes from nowhere, at both ends."""
        self._reset_peer()
        self._was_reset()

    def _soon(self, call: Callable[..., None], *arguments: Any) -> None:
        self._loop.call_soon(call, *arguments, context=self.context)


class Listener:
    """A listening socket, with what asyncio and others ask of one."""

    def __init__(self, net: Net, process: Process, ip: str, port: int) -> None:
        host = net.host_of(process)
        self._net = net
        self.process = process
        self.context = copy_context()
        self.ip = net.own_ip(process, ip)
        self.port = port or host.free_port(host.tcp)
        if self.port in host.tcp:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        host.tcp[self.port] = self
        self._accept: Callable[[Stream], None] | None = None
        self._backlog: list[Stream] = []

    def getsockname(self) -> Address:
        return self.ip, self.port

    def fileno(self) -> int:
        return -1

    def serve(self, accept: Callable[[Stream], None]) -> None:
        self._accept = accept
        waiting, self._backlog = self._backlog, []
        for stream in waiting:
            accept(stream)

    def come(self, stream: Stream) -> None:
        if self._accept is None:
            self._backlog.append(stream)
        else:
            self._accept(stream)

    def takes(self, ip: str) -> bool:
        """Whether who asks for this address is asking for this listener."""
        return self.ip == "0.0.0.0" or ip == self.ip or (ip in HERE and self.ip in HERE)  # noqa: S104 (see net.ANY)

    def close(self) -> None:
        host = self._net.host_of(self.process)
        if host.tcp.get(self.port) is self:
            del host.tcp[self.port]
        waiting, self._backlog = self._backlog, []
        for stream in waiting:
            stream.abort()

    def drop(self) -> None:
        self._backlog.clear()


class Call:
    """Connecting: asks until somebody answers, is refused, or gives up."""

    def __init__(self, net: Net, process: Process, there: Address) -> None:
        self._net = net
        self._process = process
        self.context = copy_context()
        self._there = there
        self._answer: asyncio.Future[Stream] = net.loop.create_future()
        self._began_ns = net.loop.now_ns
        self._wait_ns = 1_000_000_000

    async def connected(self) -> Stream:
        """
        Raises:
            ConnectionRefusedError, TimeoutError
        """
        self._ask()
        return await self._answer

    def _ask(self) -> None:
        target = self._net.reach(self._process, self._there[0])
        if target is None or self._answer.done():
            self._later(self._ask)
            return
        link = self._net.link(self._process.name, target.name)
        if link.cuts or not target.is_up:
            self._later(self._ask)
        else:
            self._net.loop.plan(link.delay_ns(0), self._asked, link)

    def _asked(self, link: Link) -> None:
        ip, port = self._there
        target = self._net.reach(self._process, ip)
        if target is None or link.cuts or not target.is_up:
            self._later(self._ask)
            return
        back = self._net.link(target.name, self._process.name)
        found = target.tcp.get(port)
        if isinstance(found, Listener) and found.takes(ip) and self._process.alive:
            here = self._net.host_of(self._process)
            name = (here.ip if ip not in HERE else "127.0.0.1", here.free_port(here.tcp))
            one = Stream(self._net, self.context, self._process, here=name, there=self._there)
            other = Stream(
                self._net, found.context.copy(), found.process, here=self._there, there=name
            )
            one.join(other)
            other.join(one)
            found.come(other)
            self._net.loop.plan(back.delay_ns(0), self._answered, one, back)
        else:
            self._net.loop.plan(back.delay_ns(0), self._refused, back)

    def _answered(self, stream: Stream, back: Link) -> None:
        if not self._process.alive:
            return
        if self._answer.done():  # who asked has given up
            stream.abort()
        elif stream.gone:
            self._refused(back)
        elif back.cuts:
            self._later(lambda: self._answered(stream, back))
        else:
            self._answer.set_result(stream)

    def _refused(self, back: Link) -> None:
        if back.cuts:
            self._later(self._ask)
        elif not self._answer.done():
            text = os.strerror(errno.ECONNREFUSED)
            self._answer.set_exception(ConnectionRefusedError(errno.ECONNREFUSED, text))

    def _later(self, call: Callable[[], None]) -> None:
        if self._answer.done() or not self._process.alive:
            return
        waited_s = (self._net.loop.now_ns - self._began_ns) * 1e-9
        if waited_s > self._net.weather.connect_s:
            text = os.strerror(errno.ETIMEDOUT)
            self._answer.set_exception(TimeoutError(errno.ETIMEDOUT, text))
            return
        self._net.loop.plan(self._wait_ns, call)
        self._wait_ns *= 2
