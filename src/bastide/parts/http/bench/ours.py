"""Our rows: `python -m bastide.parts.http.bench.ours PORT DIRECTORY`, or, on uvicorn, `asgi`."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from bastide.base.errors import NotFound
from bastide.base.gate import anyone
from bastide.base.routes.rows import File, Prepared, Reply, Row, Socket, redirect, route, socket
from bastide.parts.http.asgi import Asgi
from bastide.parts.http.bench.serving import http_of, run, serve

LINKS = 1_000

T = TypeVar("T")


class Hot:
    """What the rows stand on: links, the files that are in a directory now, and who listens."""

    def __init__(self, directory: Path) -> None:
        self.links = {str(n): f"https://example.com/{n}" for n in range(LINKS)}
        self.files = {
            path.name: File(path, "application/octet-stream") for path in directory.iterdir()
        }
        self.listeners: set[Socket] = set()


def _read(those: Mapping[str, T], name: str) -> T:
    """
    Raises:
        NotFound
    """
    try:
        return those[name]
    except KeyError as error:
        raise NotFound(f"nothing is called {name[:100]!r}") from error


def follow(hot: Hot, code: str) -> Reply:
    return redirect(_read(hot.links, code), 302)


async def follow_later(hot: Hot, code: str) -> Reply:
    return redirect(_read(hot.links, code), 302)


def send_file(hot: Hot, name: str) -> File:
    return _read(hot.files, name)


async def echo(_: Hot, heard: Socket) -> None:
    async for message in heard:
        await heard.send(message)


async def listen(hot: Hot, listener: Socket) -> None:
    hot.listeners.add(listener)
    try:
        async for _ in listener:
            pass
    finally:
        hot.listeners.discard(listener)


async def cast(hot: Hot, caster: Socket) -> None:
    """Every message to every listener, encoded once."""
    async for message in caster:
        prepared = Prepared(message)
        slow = [one for one in tuple(hot.listeners) if not one.offer(prepared)]
        for one in slow:
            await one.send(prepared)


ROWS: Sequence[Row] = (
    route("GET", "/{code}", follow, allow=anyone),
    route("GET", "/later/{code}", follow_later, allow=anyone),
    route("GET", "/files/{name}", send_file, allow=anyone),
    socket("/sockets/echo", echo, allow=anyone),
    socket("/sockets/listen", listen, allow=anyone),
    socket("/sockets/cast", cast, allow=anyone),
)


def asgi() -> Asgi:
    """The same rows, for `uvicorn --factory`."""
    return Asgi(http_of(ROWS, Hot(Path())))


if __name__ == "__main__":
    run(serve(ROWS, Hot(Path(sys.argv[2])), int(sys.argv[1])))
