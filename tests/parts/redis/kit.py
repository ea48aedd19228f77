"""Real Redis servers: the one that everybody shares, and some to stop, pause and cut."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import asynccontextmanager, contextmanager, suppress

import pytest

REQUIRED = os.environ.get("BASTIDE_TEST_ENGINES_REQUIRED") == "1"
MISSING = "redis-server is not installed: apt-get install redis-server"


def shared_url():
    """Needed by every test that is marked `engine("redis")`."""
    url = os.environ.get("BASTIDE_TEST_REDIS_URL")
    if not url:
        _go_without("BASTIDE_TEST_REDIS_URL is not set: scripts/engines start")
    return url


def _go_without(reason):
    if REQUIRED:
        pytest.fail(reason)
    pytest.skip(reason)


class Redis:
    """A server of a test's own."""

    def __init__(self, directory, *options):
        self._program = shutil.which("redis-server") or _go_without(MISSING)
        self._directory = directory
        self._options = options
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._process = None

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self):
        self._directory.mkdir(parents=True, exist_ok=True)
        where = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._directory))
        command = [self._program, *where, "--save", "", *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        end_s = time.monotonic() + 5
        while time.monotonic() < end_s:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.005)  # it gives no sign but to answer
        raise AssertionError("redis-server did not start")

    def stop(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self):
        self._process.send_signal(signal.SIGSTOP)

    def resume(self):
        self._process.send_signal(signal.SIGCONT)

    def say(self, *words):
        """An operator's command, on a connection of its own; what the server answers."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as made:
            made.sendall((" ".join(words) + "\r\n").encode())
            return made.recv(65536).decode()


@contextmanager
def running(directory, *options):
    redis = Redis(directory, *options)
    redis.start()
    try:
        yield redis
    finally:
        redis.stop()


class Proxy:
    """Between clients and a server. While `commands` or `words` is clear, what clients ask, or what
    the server says, is held back; it comes later, even if its sender has gone. `drops` loses what
    the server says, and ends the connection; `refuses` takes no new one.
    """

    def __init__(self, port):
        self.to = port
        self.port = 0
        self.commands = asyncio.Event()
        self.words = asyncio.Event()
        self.commands.set()
        self.words.set()
        self.drops = self.refuses = False
        self._writers = []

    async def serve(self, reader, writer):
        self._writers.append(writer)
        if self.refuses:
            writer.close()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.to)
        except OSError:
            writer.close()
            return
        self._writers.append(far_writer)
        await asyncio.gather(
            self._pour(reader, far_writer, self.commands),
            self._pour(far_reader, writer, self.words),
        )

    def cut(self):
        """Every connection, at once."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _pour(self, reader, writer, gate):
        with suppress(OSError):
            while chunk := await reader.read(65536):
                await gate.wait()
                if self.drops and gate is self.words:
                    break
                writer.write(chunk)
        await gate.wait()
        writer.close()


@asynccontextmanager
async def proxied(port):
    proxy = Proxy(port)
    serving = set()

    async def serve(reader, writer):
        serving.add(asyncio.current_task())
        await proxy.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        proxy.commands.set()
        proxy.words.set()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
