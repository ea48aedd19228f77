"""FastAPI, as an application of others, under our server."""

import asyncio
from typing import Annotated

import pytest
from fastapi import APIRouter, BackgroundTasks, Body, FastAPI, Response
from fastapi import Request as FastRequest
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from bastide.base.gate import anyone
from bastide.parts.http.apps import app_rows
from bastide.parts.http.asgi import Asgi
from tests.parts.http.apps_kit import mounted
from tests.parts.http.asgi_kit import under_uvicorn
from tests.parts.http.server_kit import get, http_of


class Item(BaseModel):
    name: str
    price: float


goods = APIRouter()


def shop():
    app = FastAPI()
    app.include_router(goods)
    app.state.left = asyncio.Event()
    app.state.done = asyncio.Event()
    return app


@goods.get("/items/{number}")
async def read(number: int, q: str = "", short: bool = False):
    return {"number": number, "q": q, "short": short}


@goods.post("/items", status_code=201)
async def create(item: Item):
    return item


@goods.put("/raw")
async def count(request: FastRequest):
    return {"bytes": sum([len(piece) async for piece in request.stream()])}


@goods.post("/form")
async def form(request: FastRequest):
    return dict(await request.form())


@goods.get("/cookies")
async def cookies(response: Response):
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")


@goods.get("/stream")
async def stream():
    async def pieces():
        for n in range(5):
            yield f"piece {n}\n"
            await asyncio.sleep(0)

    return StreamingResponse(pieces(), media_type="text/plain")


@goods.get("/endless")
async def endless(request: FastRequest):
    async def pieces():
        try:
            yield b"some"
            await asyncio.Event().wait()
        finally:
            request.app.state.left.set()

    return StreamingResponse(pieces())


@goods.get("/broken")
async def broken():
    raise ValueError("of its own")


@goods.get("/behind")
async def behind(request: FastRequest, tasks: BackgroundTasks):
    async def work():
        await asyncio.sleep(0.01)
        request.app.state.done.set()

    tasks.add_task(work)
    return "soon"


@goods.get("/sync")
def sync(name: Annotated[str, "of a thread"] = ""):
    return {"name": name}


@goods.post("/echo")
async def echo_(data: Annotated[dict, Body()]):
    return data


PREFIXES = pytest.mark.parametrize("prefix", ["", "/shop"])


@PREFIXES
async def test_fastapi_takes_paths_queries_and_bodies(prefix) -> None:
    async with mounted(shop(), prefix=prefix) as town, town.client() as client:
        found = await client.get(f"{prefix}/items/3?q=%C3%BC&short=true")
        assert found.json() == {"number": 3, "q": "ü", "short": True}
        assert (await client.get(f"{prefix}/items/three")).status_code == 422
        item = {"name": "a", "price": 1.5}
        made = await client.post(f"{prefix}/items", json=item)
        assert (made.status_code, made.json()) == (201, item)
        assert (await client.post(f"{prefix}/items", content=b"{")).status_code == 422
        data = {"text": "ü" * 100_000}
        assert (await client.post(f"{prefix}/echo", json=data)).json() == data
        counted = await client.put(f"{prefix}/raw", content=bytes(3_000_000))
        assert counted.json() == {"bytes": 3_000_000}
        assert (await client.get(f"{prefix}/sync?name=a")).json() == {"name": "a"}
        assert (await client.get(f"{prefix}/nowhere")).json() == {"detail": "Not Found"}
        assert (await client.delete(f"{prefix}/items/3")).status_code == 405
        assert (await client.head(f"{prefix}/items/3")).status_code == 405
        slashed = await client.get(f"{prefix}/items/3/")
        assert slashed.headers["location"].endswith(f"{prefix}/items/3")
        assert (await client.get(f"{prefix}/openapi.json")).json()["paths"]


@PREFIXES
async def test_fastapi_streams_and_sets_cookies(prefix) -> None:
    async with mounted(shop(), prefix=prefix) as town, town.client() as client:
        streamed = await client.get(f"{prefix}/stream")
        assert streamed.text == "".join(f"piece {n}\n" for n in range(5))
        cookies = await client.get(f"{prefix}/cookies")
        assert len(cookies.headers.get_list("set-cookie")) == 2


async def test_fastapi_s_faults_are_its_own_reply(caplog) -> None:
    """It answers, then it raises, for a server to log."""
    async with mounted(shop()) as town, town.client() as client:
        found = await client.get("/broken")
        assert (found.status_code, found.text) == (500, "Internal Server Error")
    assert caplog.text.count("ValueError: of its own") == 1


async def test_fastapi_hears_of_a_client_that_leaves(caplog) -> None:
    app = shop()
    async with mounted(app) as town:
        async with await town.raw(get("/endless"), limit=1 << 16) as raw:
            await raw.head()
        await app.state.left.wait()
    assert "Traceback" not in caplog.text


async def test_fastapi_s_work_behind_a_reply_is_done() -> None:
    app = shop()
    async with mounted(app) as town, await town.raw(get("/behind")) as raw:
        assert (await raw.answer())[2] == b'"soon"'
        assert not app.state.done.is_set(), "the client does not wait for it"
        await app.state.done.wait()


async def test_many_clients_at_once_each_get_their_own() -> None:
    async with mounted(shop()) as town, town.client() as client:
        found = await asyncio.gather(*[client.get(f"/items/{n}") for n in range(200)])
        assert [answer.json()["number"] for answer in found] == list(range(200))


async def test_an_application_under_our_rows_under_uvicorn() -> None:
    """Both directions, one in the other."""
    app = shop()
    http = http_of(*app_rows(app, allow=anyone, prefix="/shop"))
    async with under_uvicorn(Asgi(http)) as town, town.client() as client:
        assert (await client.get("/shop/items/3")).json()["number"] == 3
        counted = await client.put("/shop/raw", content=bytes(3_000_000))
        assert counted.json() == {"bytes": 3_000_000}
        streamed = await client.get("/shop/stream")
        assert streamed.text.count("piece") == 5
        async with await town.raw(get("/shop/endless"), limit=1 << 16) as raw:
            await raw.head()
        await app.state.left.wait()
