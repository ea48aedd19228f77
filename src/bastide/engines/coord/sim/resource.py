"""What a lock protects, on a machine of its own: it takes writes that show a token (base.fence)."""

import asyncio
from contextlib import suppress

from bastide.base.fence import Deposed, Fence
from bastide.parts.histories.contract import Access

NAME, PORT = "resource", 7000
PATIENCE_S = 5.0


class Resource:
    """`accesses` is what it was asked for, in that order; it is kept outside of the world."""

    def __init__(self) -> None:
        self.accesses: list[Access] = []
        self._newest: dict[str, int] = {}

    def take(self, holder: str, fence: Fence) -> bool:
        try:
            fence.check(self._newest.get(fence.name, 0))
        except Deposed:
            taken = False
        else:
            self._newest[fence.name] = fence.token
            taken = True
        access = Access(lock=fence.name, holder=holder, token=fence.token, taken=taken)
        self.accesses.append(access)
        return taken

    async def serve(self) -> None:
        async with await asyncio.start_server(self._answer, "0.0.0.0", PORT) as server:  # noqa: S104 (a simulated machine's)
            await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while line := (await reader.readline()).decode():
                holder, lock, token = line.split()
                taken = self.take(holder, Fence(lock, int(token)))
                writer.write(b"taken\n" if taken else b"refused\n")
                await writer.drain()
        writer.close()


async def write(holder: str, fence: Fence) -> None:
    """One write, over the network. Who is not answered does not care."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection(NAME, PORT)
            try:
                writer.write(f"{holder} {fence.name} {fence.token}\n".encode())
                await reader.readline()
            finally:
                writer.close()
