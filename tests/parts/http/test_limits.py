"""Every limit of a connection, kept to and gone over: the status that it owes, a close, and no
other connection notices.
"""

import asyncio

import pytest

from bastide.base.gate import anyone
from bastide.base.routes.rows import Chunks, Reply, route
from bastide.parts.http.contract import Limits
from tests.parts.http.server_kit import eventually
from tests.parts.http.wires import Served, served

SHORT_S = 0.4
LONG_S = 60.0


async def drink(_: object, chunks: Chunks) -> Reply:
    return Reply(200, b"%d" % sum([len(piece) async for piece in chunks]))


DRINK = route("POST", "/drink", drink, allow=anyone, body_max=1 << 30)


def patient(**limits: float) -> Limits:
    """Times that never come, but for those that are named."""
    names = ("first_byte_s", "head_s", "body_s", "idle_s", "stall_s")
    return Limits(**{**dict.fromkeys(names, LONG_S), **limits})  # type: ignore[arg-type] # floats


async def others_are_answered(town: Served) -> None:
    assert (await town.ask("/ping")).body == b"pong"


@pytest.mark.parametrize(("over", "status"), [(0, 404), (1, 414)])
async def test_target_bytes(over: int, status: int) -> None:
    async with served(limits=patient()) as town:
        wire = await town.open()
        wire.get("/" + "p" * (Limits().target_bytes - 1 + over))
        assert (await wire.hear()).status == status
        if over:
            assert await wire.is_closed()
        await others_are_answered(town)


@pytest.mark.parametrize(("over", "status"), [(0, 200), (1, 431)])
async def test_headers(over: int, status: int) -> None:
    async with served(limits=patient()) as town:
        wire = await town.open()
        wire.get("/ping", *(f"x-{n}: 1" for n in range(Limits().headers - 1 + over)))
        assert (await wire.hear()).status == status
        if over:
            assert await wire.is_closed()
        await others_are_answered(town)


@pytest.mark.parametrize(("over", "status"), [(0, 200), (1, 431)])
async def test_header_bytes(over: int, status: int) -> None:
    async with served(limits=patient()) as town:
        wire = await town.open()
        wire.get("/ping", "x: " + "v" * (Limits().header_bytes - len("hostax") + over))
        assert (await wire.hear()).status == status
        if over:
            assert await wire.is_closed()
        await others_are_answered(town)


@pytest.mark.parametrize(("over", "status"), [(0, 200), (1, 413)])
@pytest.mark.parametrize("chunked", [False, True])
async def test_body_bytes(over: int, status: int, *, chunked: bool) -> None:
    async with served(DRINK, limits=patient(body_bytes=1_000)) as town:
        wire = await town.open()
        body = b"x" * (1_000 + over)
        if chunked:
            wire.say(b"POST /drink HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
            wire.say(b"%x\r\n" % len(body), body, b"\r\n0\r\n\r\n")
        else:
            wire.post("/drink", body)
        answer = await wire.hear()
        assert answer.status == status
        if over:
            assert await wire.is_closed()
        else:
            assert answer.body == b"1000"
        await others_are_answered(town)


async def test_first_byte_s() -> None:
    async with served(limits=patient(first_byte_s=SHORT_S)) as town:
        silent, blank, speaking = [await town.open() for _ in range(3)]
        blank.say(b"\r\n")
        speaking.say(b"G")
        assert await silent.is_closed(), (
            "without a word: its next request would take it for its own"
        )
        assert await blank.is_closed()
        speaking.say(b"ET /ping HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await speaking.hear()).status == 200


async def test_head_s() -> None:
    async with served(limits=patient(head_s=SHORT_S)) as town:
        slow = await town.open()
        slow.say(b"GET /ping HTTP/1.1\r\nhost: a\r\nx: ")
        dribbling = asyncio.create_task(_dribble(slow, b"v"))
        assert (await slow.hear()).status == 408
        assert await slow.is_closed()
        dribbling.cancel()
        await others_are_answered(town)


async def _dribble(wire, byte: bytes) -> None:
    while True:
        wire.say(byte)
        await asyncio.sleep(SHORT_S / 4)


async def test_body_s_and_body_rate() -> None:
    limits = patient(body_s=SHORT_S, body_rate=1_000)
    async with served(DRINK, limits=limits) as town:
        head = b"POST /drink HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n"
        slow, silent, fast = [await town.open() for _ in range(3)]
        for wire in (slow, silent, fast):
            wire.say(head)
        dribbling = asyncio.create_task(_dribble(slow, b"x"))
        assert (await slow.hear()).status == 408
        assert await slow.is_closed()
        dribbling.cancel()
        assert (await silent.hear()).status == 408
        fast.say(b"x" * 100_000)
        late = await fast.hear()
        assert late.status in (200, 408), "it was silent as long as the others"
        await others_are_answered(town)


async def test_a_body_that_keeps_to_its_rate_may_take_long() -> None:
    async with served(DRINK, limits=patient(body_s=SHORT_S, body_rate=1)) as town:
        wire = await town.open()
        wire.say(b"POST /drink HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n")
        for _ in range(10):
            wire.say(b"x" * 10)
            await asyncio.sleep(SHORT_S / 3)
        assert (await wire.hear()).body == b"100"


async def test_a_body_that_nobody_has_asked_for_yet_is_not_late() -> None:
    """Its client waits to be told (RFC 9110, section 10.1.1)."""
    asked = asyncio.Event()

    async def later(_: object, chunks: Chunks) -> Reply:
        await asked.wait()
        return await drink(_, chunks)

    row = route("POST", "/later", later, allow=anyone)
    async with served(row, limits=patient(body_s=SHORT_S, body_rate=1_000)) as town:
        wire = await town.open()
        wire.say(b"POST /later HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n")
        wire.say(b"expect: 100-continue\r\n\r\n")
        await asyncio.sleep(SHORT_S * 3)
        asked.set()
        assert (await wire.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 Continue")
        wire.say(b"abc")
        assert (await wire.hear()).body == b"3"


async def test_idle_s() -> None:
    async with served(limits=patient(idle_s=SHORT_S)) as town:
        wire = await town.open()
        wire.get("/ping")
        assert (await wire.hear()).status == 200
        wire.get("/ping")
        assert (await wire.hear()).status == 200, "not idle yet"
        assert await wire.is_closed()


async def test_stall_s() -> None:
    def flood(_: object) -> Reply:
        return Reply(200, b"x" * (32 << 20))

    async with served(
        route("GET", "/flood", flood, allow=anyone), limits=patient(stall_s=SHORT_S)
    ) as town:
        stalled = await town.open()
        stalled.writer.transport.pause_reading()
        stalled.get("/flood")
        await eventually(lambda: bool(town.server.connections))
        await eventually(lambda: not town.server.connections)
        await others_are_answered(town)


@pytest.mark.parametrize("count", [1, 3])
async def test_requests(count: int) -> None:
    async with served(limits=patient(requests=count)) as town:
        wire = await town.open()
        for number in range(count):
            wire.get("/ping")
            answer = await wire.hear()
            assert answer.status == 200
            assert (answer.headers.get("connection") == "close") == (number == count - 1)
        assert await wire.is_closed()


@pytest.mark.parametrize(("over", "answered"), [(0, 5), (1, 0)])
async def test_pipelined(over: int, answered: int) -> None:
    async with served(limits=patient(pipelined=5)) as town:
        wire = await town.open()
        wire.say(b"GET /ping HTTP/1.1\r\nhost: a\r\n\r\n" * (5 + over))
        for _ in range(answered):
            assert (await wire.hear()).body == b"pong"
        if over:
            assert await wire.is_closed()
        await others_are_answered(town)


async def test_connections() -> None:
    async with served(limits=patient(connections=2)) as town:
        kept = [await town.open() for _ in range(2)]
        for wire in kept:
            wire.get("/ping")
            assert (await wire.hear()).status == 200
        refused = await town.open()
        answer = await refused.hear()
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert await refused.is_closed()
        kept[0].writer.close()
        await eventually(lambda: len(town.server.connections) == 1)
        await others_are_answered(town)
        kept[1].get("/ping")
        assert (await kept[1].hear()).status == 200


async def test_connections_of_one() -> None:
    async with served(limits=patient(connections_of_one=1)) as town:
        kept = await town.open()
        kept.get("/ping")
        assert (await kept.hear()).status == 200
        refused = await town.open()
        answer = await refused.hear()
        assert (answer.status, answer.headers["retry-after"]) == (429, "5")
        assert await refused.is_closed()
        kept.get("/ping")
        assert (await kept.hear()).status == 200


async def test_in_flight() -> None:
    gate = asyncio.Event()

    async def wait(_: object) -> Reply:
        await gate.wait()
        return Reply(200, b"waited")

    async with served(
        route("GET", "/wait", wait, allow=anyone), limits=patient(in_flight=2)
    ) as town:
        waiting = [await town.open() for _ in range(2)]
        for wire in waiting:
            wire.get("/wait")
        await eventually(lambda: town.server.in_flight == 2)
        refused = await town.ask("/wait")
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        gate.set()
        assert [(await wire.hear()).body for wire in waiting] == [b"waited", b"waited"]
        assert (await town.ask("/wait")).status == 200
        assert town.server.in_flight == 0
