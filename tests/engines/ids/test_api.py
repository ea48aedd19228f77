"""The mint over HTTP."""

from uuid import UUID

import pytest

from bastide.testing.town import raised


@pytest.mark.box("ids.http")
async def test_a_request_gets_an_id_as_a_string() -> None:
    async with raised("ids") as town:
        client = await town.client("ids")
        reply = await client.get("/api/new")
        assert reply.status_code == 200
        assert reply.headers["cache-control"] == "no-store"
        (id_,) = reply.json()["ids"]
        said = (await client.get(f"/api/decode/{id_}")).json()
        assert said == {"id": id_, "at_ms": town.clock.now_ms(), "worker": 0, "sequence": 0}
        assert int(id_) > 1 << 53, "a JavaScript number would not hold it"


async def test_1_to_10000_ids_can_be_asked_for() -> None:
    async with raised("ids") as town:
        client = await town.client("ids")
        ids = (await client.get("/api/new", params={"count": 10_000})).json()["ids"]
        assert len(set(ids)) == 10_000
        assert sorted(ids, key=int) == ids
        for wrong in ("0", "10001", "-1", "x", ""):
            reply = await client.get("/api/new", params={"count": wrong})
            assert reply.status_code == 400


async def test_every_other_form_can_be_asked_for() -> None:
    async with raised("ids") as town:
        client = await town.client("ids")
        assert len((await client.get("/api/text")).json()["text"]) == 15
        assert UUID((await client.get("/api/uuid7")).json()["uuid"]).version == 7
        assert UUID((await client.get("/api/timeuuid")).json()["uuid"]).version == 1
        assert len((await client.get("/api/random?length=9")).json()["code"]) == 9


async def test_the_operator_counts_series() -> None:
    async with raised("ids") as town:
        client = await town.client("ids")
        assert (await client.post("/api/number/rows")).json() == {"number": "0"}
        assert len((await client.post("/api/code/links")).json()["code"]) == 7
        assert len((await client.post("/api/key/links?length=5")).json()["key"]) == 5


@pytest.mark.parametrize("door", ["number", "code", "key"])
async def test_a_stranger_does_not_count_series(door: str) -> None:
    async with raised("ids") as town:
        stranger = await town.client("ids", address="192.0.2.7")
        assert (await stranger.post(f"/api/{door}/links")).status_code == 403
        assert (await stranger.get("/api/new")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "error"),
    [
        ("GET", "/api/decode/-1", "not-an-id"),
        ("GET", "/api/decode/9223372036854775808", "not-an-id"),
        ("GET", "/api/random?length=0", "length-over"),
        ("GET", "/api/random?length=65", "length-over"),
        ("POST", "/api/code/links?length=3", "length-over"),
        ("POST", "/api/key/links?length=11", "length-over"),
        ("POST", "/api/number/Links", "series-wrong"),
        ("GET", "/api/decode/x", "invalid"),
        ("GET", "/api/decode/" + "9" * 5000, "invalid"),
    ],
)
async def test_what_is_wrong_is_named(method: str, path: str, error: str) -> None:
    async with raised("ids") as town:
        reply = await (await town.client("ids")).request(method, path)
        assert reply.status_code == 400
        assert reply.json()["type"] == f"urn:bastide:{error}"
