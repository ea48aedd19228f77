"""Counts as they change, as server-sent events from a town in a process of its own."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from httpx import AsyncClient

from bastide.apps.shortener.bench import running_town
from bastide.apps.shortener.contract import Stats
from bastide.apps.shortener.core.owners import owner_of_key
from tests.apps.shortener.conftest import LONG, bearer
from tests.apps.shortener.test_cache import reads
from tests.engines.cache.kit import eventually

WITHIN_S = 10.0
SOON_S = 1.0


@pytest.fixture
async def client(tmp_path) -> AsyncIterator[AsyncClient]:
    async with (
        running_town(tmp_path / "town") as town,
        AsyncClient(base_url=town.address, timeout=WITHIN_S) as client,
    ):
        yield client


async def made(client: AsyncClient) -> tuple[str, str]:
    told = (await client.post("/api/shorten", json={"original_url": LONG})).json()
    return told["short_code"], told["manage_key"]


class Listening:
    """`await heard()` is the next event's counts."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines

    async def heard(self) -> Any:
        async for line in self._lines:
            if line.startswith("data: "):
                return msgspec.json.decode(line.removeprefix("data: "))
        raise EOFError


@asynccontextmanager
async def listening(client: AsyncClient, code: str, key: str) -> AsyncIterator[Listening]:
    async with client.stream("GET", f"/api/{code}/clicks", headers=bearer(key)) as reply:
        assert reply.status_code == 200
        assert reply.headers["content-type"] == "text/event-stream"
        assert reply.headers["cache-control"] == "no-store"
        yield Listening(reply.aiter_lines())


def counted(total, bots=0):
    return {"total_clicks": total, "bot_clicks": bots, "pending": False}


@pytest.mark.box("shortener.live")
async def test_a_click_is_told_within_a_second_and_only_to_whom_it_concerns(client):
    (code, key), (other, other_key) = await made(client), await made(client)
    async with listening(client, code, key) as one, listening(client, other, other_key) as two:
        assert await one.heard() == counted(0)
        assert await two.heard() == counted(0)
        for n in range(1, 4):
            clicked_s = time.perf_counter()
            assert (await client.get(f"/{code}")).status_code == 302
            assert await one.heard() == counted(n)
            assert time.perf_counter() - clicked_s < SOON_S
        await client.get(f"/{other}", headers={"user-agent": "Googlebot/2.1"})
        assert await two.heard() == counted(1, bots=1), "the others' clicks told it nothing"


@pytest.mark.box("shortener.live")
async def test_all_who_listen_hear_of_many_clicks_and_of_the_last_one(client):
    code, key = await made(client)
    async with listening(client, code, key) as one, listening(client, code, key) as two:
        await asyncio.gather(*(client.get(f"/{code}") for _ in range(50)))
        for ears in (one, two):
            totals = [0]
            while totals[-1] < 50:
                totals.append((await ears.heard())["total_clicks"])
            assert totals[1:] == sorted(set(totals[1:])), "never back, and nothing twice"


@pytest.mark.box("shortener.live")
async def test_who_may_not_see_the_counts_is_told_so_before_anything_else(client):
    (code, _), (_, other_key) = await made(client), await made(client)
    refused = {
        401: await client.get(f"/api/{code}/clicks"),
        403: await client.get(f"/api/{code}/clicks", headers=bearer(other_key)),
        404: await client.get("/api/nowhere/clicks", headers=bearer(other_key)),
    }
    assert {status: reply.status_code for status, reply in refused.items()} == {
        status: status for status in refused
    }
    for reply in refused.values():
        assert reply.headers["content-type"] == "application/problem+json"


@pytest.mark.box("shortener.live")
async def test_a_deleted_links_counts_are_heard_of_no_more(client):
    code, key = await made(client)
    await client.delete(f"/api/{code}", headers=bearer(key))
    reply = await client.get(f"/api/{code}/clicks", headers=bearer(key))
    assert (reply.status_code, reply.json()["type"]) == (410, "urn:bastide:link-deleted")


@pytest.mark.box("shortener.live")
async def test_who_listens_while_the_link_is_deleted_hears_an_end_and_no_wrong_count(
    visitor, town, monkeypatch
):
    monkeypatch.setattr("bastide.apps.shortener.service.shortener.LOOK_S", 0.01)
    told, shortener = await visitor.made(), town.served("shortener")
    code, key = told["short_code"], told["manage_key"]
    await visitor.follow(code)
    link = (await shortener.read(code, owner_of_key(key))).link
    heard = shortener.watch(link)
    assert await anext(heard) == Stats(1, 0)
    assert (await visitor.delete(code, key)).is_success
    assert [stats async for stats in heard] == []


@pytest.mark.box("shortener.live")
async def test_what_has_not_changed_is_not_told_again(visitor, town, monkeypatch):
    monkeypatch.setattr("bastide.apps.shortener.service.shortener.LOOK_S", 0.01)
    told, shortener = await visitor.made(), town.served("shortener")
    code, key = told["short_code"], told["manage_key"]
    link = (await shortener.read(code, owner_of_key(key))).link
    heard = shortener.watch(link)
    assert await anext(heard) == Stats(0, 0)
    before, coming = reads(town), asyncio.ensure_future(anext(heard))

    async def looked():
        return reads(town) > before + 3

    await eventually(looked)
    assert not coming.done()
    await visitor.follow(code)
    assert await coming == Stats(1, 0)
    await heard.aclose()
