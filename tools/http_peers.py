"""Other HTTP servers, to play the corpus against: nginx, and uvicorn with either parser.

Each answers any request with its method and path, once the body is read, and gives up what is late
after a second, as our server does with the corpus's limits. A server is a process of its own.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from bastide.base.rt.net import bind
from tests.parts.http.corpus import LIMITS

START_S = 10.0
TIME_S = 1  # nginx and uvicorn take whole seconds
NGINX = """\
daemon off; worker_processes 1; pid {directory}/pid; error_log stderr error;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_header_timeout {time_s}s; client_body_timeout {time_s}s;
  send_timeout {time_s}s; keepalive_timeout {time_s}s;
  client_max_body_size {body_bytes}; client_body_buffer_size {body_bytes};
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port};
    root {directory}/empty;
    location = /mirror {{ internal; return 204; }}
    location @answer {{ return 200 "$request_method $uri\\n"; }}
    # `return` alone answers before the body is there; `mirror` reads it first.
    location / {{ mirror /mirror; error_page 403 404 405 =200 @answer; }}
  }}
}}
"""

Message = MutableMapping[str, Any]


class Peer:
    """A server that runs, and what it says on stderr."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.pid = process.pid
        self.port = port
        self.lines: list[str] = []


Peers = Callable[[], AbstractAsyncContextManager[Peer]]


async def app(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """What uvicorn serves: tells what it saw, as our rows do."""
    assert scope["type"] == "http", f"{scope['type']} is not served"
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        more = message.get("more_body", False)
    host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
    seen = {"method": scope["method"], "path": scope["path"], "host": host}
    text = json.dumps({**seen, "body": body.decode("latin-1")}).encode()
    headers = [(b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


@asynccontextmanager
async def nginx() -> AsyncIterator[Peer]:
    program = _nginx()
    with tempfile.TemporaryDirectory() as directory:
        port = _free_port()
        (Path(directory) / "empty").mkdir()
        settings = {"directory": directory, "time_s": TIME_S, "body_bytes": LIMITS.body_bytes}
        path = Path(directory) / "nginx.conf"
        path.write_text(NGINX.format(port=port, **settings), encoding="utf-8")
        async with _running(port, program, "-p", directory, "-c", str(path)) as peer:
            yield peer


def nginx_version() -> str:
    """As "nginx 1.22.1"."""
    said = subprocess.run((_nginx(), "-v"), capture_output=True, check=True, text=True).stderr  # noqa: S603 (found by us)
    return said.rpartition(" ")[2].strip().replace("/", " ")


def _nginx() -> str:
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        raise SystemExit("nginx is not installed: apt-get install nginx-light")
    return program


@asynccontextmanager
async def uvicorn(parser: str) -> AsyncIterator[Peer]:
    """`parser`: httptools or h11."""
    port = _free_port()
    where = ("--host", "127.0.0.1", "--port", str(port))
    how = ("--http", parser, "--ws", "none", "--lifespan", "off", "--loop", "asyncio")
    quiet = ("--no-access-log", "--log-level", "warning", "--timeout-keep-alive", str(TIME_S))
    words = ("-m", "uvicorn", "tools.http_peers:app", *where, *how, *quiet)
    async with _running(port, sys.executable, *words) as peer:
        yield peer


@asynccontextmanager
async def ours() -> AsyncIterator[Peer]:
    """Our server with the limits of the corpus. It ends when its input does."""
    words = ("-m", "tests.parts.http.corpus_kit")
    async with _process(sys.executable, *words) as process:
        assert process.stdout is not None
        line = await process.stdout.readline()
        peer = Peer(process, int(line or 0))
        async with _read(process, peer):
            if not line:
                raise SystemExit("our server did not start:\n" + "\n".join(peer.lines))
            yield peer


@asynccontextmanager
async def _running(port: int, *words: str) -> AsyncIterator[Peer]:
    async with _process(*words) as process:
        peer = Peer(process, port)
        async with _read(process, peer):
            await _answers(port)
            yield peer


@asynccontextmanager
async def _process(*words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), START_S)
        except TimeoutError:
            process.kill()
            await process.wait()


@asynccontextmanager
async def _read(process: asyncio.subprocess.Process, peer: Peer) -> AsyncIterator[None]:
    """What it says on stderr is kept, and its pipe never fills."""

    async def read() -> None:
        assert process.stderr is not None
        while line := await process.stderr.readline():
            peer.lines.append(line.decode(errors="replace").rstrip())

    reading = asyncio.create_task(read())
    try:
        yield
    finally:
        if process.returncode is not None:
            await reading  # it ended by itself: why is what counts
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


def _free_port() -> int:
    with bind("127.0.0.1", 0) as probe:
        return int(probe.getsockname()[1])


async def _answers(port: int) -> None:
    async with asyncio.timeout(START_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                await writer.wait_closed()
                return
