"""Servers in processes of their own, on a core of their own where there are two.

The first core is the server's, the last one the generator's: the halves of one (hyperthreads) are
numbered one after another, or half of all apart. A process stays where it was started, with all
that it starts.
"""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import msgspec

from bastide.base.errors import Unavailable
from bastide.base.rt.net import bind

SERVER_CORE, GENERATOR_CORE = 0, -1
HOST = "127.0.0.1"
START_S = 30.0
STOP_S = 5.0
LOOK_S = 0.02
LOCATION = "https://example.com/"
NGINX = """
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {directory}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 12000; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    keepalive_timeout 3600;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=2048;
        location / {{ return 302 {location}; }}
        location /files/ {{ alias {directory}/; }}
    }}
}}
"""


class Running(msgspec.Struct, frozen=True):
    """A server that answers."""

    process: Process
    port: int


@contextmanager
def on_core(number: int) -> Iterator[None]:
    """What is started or done within is on that one of our cores; where there is only one, or no
    way to say so, nothing changes.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) < 2:
        yield
        return
    os.sched_setaffinity(0, {cores[number]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


@asynccontextmanager
async def running_module(module: str, *words: str) -> AsyncIterator[Running]:
    """`python -m module PORT words...`"""
    port = free_port()
    async with _running(port, sys.executable, "-m", module, str(port), *words) as server:
        yield server


@asynccontextmanager
async def running_uvicorn(
    app: str, *words: str, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Running | None]:
    """The ASGI application "module:NAME" on uvicorn's fastest parts. None, and a line that says so,
    if they are not installed. `words`: more of its options.
    """
    parts = ("uvicorn", "uvloop", "httptools", "websockets")
    if not installed(*parts):
        yield None
        return
    port = free_port()
    command = (sys.executable, "-m", "uvicorn", app, "--port", str(port), *words)
    fast = ("--loop", "uvloop", "--http", "httptools", "--ws", "websockets-sansio")
    quiet = ("--no-access-log", "--log-level", "error", "--timeout-keep-alive", "3600")
    async with _running(port, *command, *fast, *quiet, environ=environ) as server:
        yield server


@asynccontextmanager
async def running_nginx(directory: Path) -> AsyncIterator[Running | None]:
    """One worker, which answers 302, and below /files/ with what is in `directory`. None, and a
    line that says so, if it is not installed.
    """
    program = found("nginx")
    if program is None:
        yield None
        return
    port = free_port()
    config = directory / "nginx.conf"
    settings = {"user": _nginx_user(), "directory": directory, "port": port, "location": LOCATION}
    config.write_text(NGINX.format(**settings))
    async with _running(port, program, "-p", str(directory), "-c", str(config)) as server:
        yield server


def _nginx_user() -> str:
    """A worker of root's is to stay root's, who alone may read what is sent."""
    return "user root;" if hasattr(os, "geteuid") and os.geteuid() == 0 else ""


@asynccontextmanager
async def _running(
    port: int, *command: str, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Running]:
    with on_core(SERVER_CORE):
        process = await asyncio.create_subprocess_exec(
            *command, stdout=DEVNULL, env={**os.environ, **(environ or {})}
        )
    server = Running(process, port)
    try:
        await _answers(server)
        yield server
    finally:
        await _stop(process)


async def _answers(server: Running) -> None:
    async with asyncio.timeout(START_S):
        while True:
            if server.process.returncode is not None:
                raise Unavailable("a server did not start: it has said why above")
            try:
                _, writer = await asyncio.open_connection(HOST, server.port)
            except OSError:
                await asyncio.sleep(LOOK_S)
                continue
            writer.close()
            await writer.wait_closed()
            return


async def _stop(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_S)
    except TimeoutError:
        process.kill()
        await process.wait()


def free_port() -> int:
    with bind(HOST, 0) as probe:
        port: int = probe.getsockname()[1]
    return port


def found(program: str) -> str | None:
    """Where it is; None, and a line that says so, if it is not installed."""
    place = which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if place is None:
        _say_left_out(program)
    return place


def installed(*libraries: str) -> bool:
    """If one is not, a line says so."""
    missing = [name for name in libraries if find_spec(name) is None]
    if missing:
        _say_left_out(", ".join(missing))
    return not missing


def _say_left_out(name: str) -> None:
    print(f"left out: {name} is not installed", file=sys.stderr)
