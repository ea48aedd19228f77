"""Public servers and clients, and our own, unmodified."""

import asyncio
from pathlib import Path

import grpclib.const
import pytest
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.server import Server as GrpcServer
from redis.asyncio import Redis

from bastide.base.gate import anyone
from bastide.base.metrics import Registry
from bastide.base.routes.binding import Endpoint
from bastide.base.routes.http import Http, Site
from bastide.base.routes.rows import route
from bastide.base.rt import net
from bastide.parts.http.client.client import Client
from bastide.parts.http.contract import Limits
from bastide.parts.http.server.server import Server
from bastide.parts.seglog.core import Record
from bastide.parts.seglog.log import open_seglog
from tests.parts.sim.sim_kit import same_twice, simulated, until


class Keyspace:
    """Enough of Redis for its client: its words as arrays of bulk strings."""

    def __init__(self):
        self.values = {}

    async def serve(self):
        async with await asyncio.start_server(self._speak, "0.0.0.0", 6379) as server:
            await server.serve_forever()

    async def _speak(self, reader, writer):
        while line := await reader.readline():
            words = [await self._word(reader) for _ in range(int(line[1:]))]
            writer.write(self._answer([word.decode() for word in words]))
            await writer.drain()
        writer.close()

    async def _word(self, reader):
        size = int((await reader.readline())[1:])
        return (await reader.readexactly(size + 2))[:-2]

    def _answer(self, words):
        verb = words[0].upper()
        if verb == "SET":
            self.values[words[1]] = words[2].encode()
            return b"+OK\r\n"
        if verb == "GET":
            found = self.values.get(words[1])
            return b"$-1\r\n" if found is None else b"$%d\r\n%s\r\n" % (len(found), found)
        if verb == "HELLO":
            return b"%1\r\n$5\r\nproto\r\n:3\r\n"
        return b"+OK\r\n"


def test_redis_pys_asyncio_client_speaks_to_an_asyncio_server():
    async def work(world):
        world.node("redis").start(Keyspace().serve)

        async def use():
            async with Redis(host="redis", port=6379, socket_timeout=5) as client:
                await client.set("a", "x" * 200_000)
                assert len(await client.get("a")) == 200_000
                assert await client.get("b") is None
                pipe = client.pipeline(transaction=False)
                for number in range(100):
                    pipe.set(f"k{number}", number)
                assert all(await pipe.execute())
                return await asyncio.gather(*(client.get(f"k{n}") for n in range(100)))

        found = await world.node("client").call(use)
        assert found == [b"%d" % number for number in range(100)]

    same_twice(work)


async def hello(_: object) -> str:
    await asyncio.sleep(0.5)
    return "hello"


async def serve_http():
    site = Site()
    row = route("GET", "/hello", hello, allow=anyone)
    site.mount("", [Endpoint("mill", row, None, {})], Registry())
    server = Server(Http(site, {}), Limits())
    await server.start([net.bind("0.0.0.0", 8800)])
    try:
        await asyncio.Event().wait()
    finally:
        await server.stop(1)


def test_our_http_server_and_client_speak():
    async def work(world):
        world.node("web").start(serve_http)

        async def use():
            async with Client() as client:
                answers = [client.request("GET", "http://web:8800/hello") for _ in range(20)]
                return await asyncio.gather(*answers)

        answers = await world.node("client").call(use)
        assert [answer.status for answer in answers] == [200] * 20
        assert world.now_s > 0.5

    same_twice(work)


class Plain:
    """A codec of grpclib for bytes as they are."""

    __content_subtype__ = "plain"

    def encode(self, message, message_type):
        return message

    def decode(self, data, message_type):
        return data


class Doubler:
    async def double(self, stream):
        await stream.send_message(2 * await stream.recv_message())

    def __mapping__(self):
        unary = grpclib.const.Cardinality.UNARY_UNARY
        return {"/mill.Doubler/Double": grpclib.const.Handler(self.double, unary, bytes, bytes)}


async def serve_grpc():
    server = GrpcServer([Doubler()], codec=Plain())
    await server.start("0.0.0.0", 50051)
    await server.wait_closed()


def test_grpclibs_server_and_client_speak():
    async def work(world):
        world.node("grpc").start(serve_grpc)

        async def use():
            channel = Channel("grpc", 50051, codec=Plain())
            double = UnaryUnaryMethod(channel, "/mill.Doubler/Double", bytes, bytes)
            found = await asyncio.gather(*(double(b"%d" % n, timeout=5) for n in range(20)))
            channel.close()
            return found

        found = await world.node("client").call(use)
        assert found == [2 * (b"%d" % n) for n in range(20)]

    same_twice(work)


@pytest.mark.parametrize("seed", range(5))
def test_seglog_keeps_on_a_simulated_disk_what_it_has_acknowledged(seed):
    async def work(world):
        node, synced = world.node("log"), []

        async def append():
            async with open_seglog(Path("/log")) as log:
                found = [entry.value async for entry in log.scan(log.first_offset)]
                assert found[: len(synced)] == [b"%d" % n for n in range(len(synced))]
                synced[:] = found
                while True:
                    last = log.append([Record(b"%d" % len(synced))])
                    await log.synced(last)
                    synced.append(b"")

        draws = world.draws.tape("crashes")
        node.start(append)
        for _ in range(20):
            node.crash_after(draws.integer("turns", 1, 300))
            await until(lambda: not node.alive, step_s=0.001)
            node.restart()
        assert len(synced) > 20

    simulated(work, seed)
