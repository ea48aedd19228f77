"""Coordination over HTTP, for the operator."""

import asyncio
import base64
import json

import pytest

from bastide.base.tx import PAGE_ITEMS_MAX
from bastide.engines.coord.contract import KEY_BYTES_MAX, VALUE_BYTES_MAX, Put
from bastide.engines.coord.core.snapshots import restore
from tests.engines.coord.doors_kit import doors_of_coord


@pytest.fixture
async def doors():
    async with doors_of_coord() as found:
        yield found


def kind(problem) -> str:
    return problem["type"].removeprefix("urn:bastide:")


async def test_a_key_is_put_read_at_any_revision_and_deleted(doors) -> None:
    first = (await doors.put("a", "one"))["revision"]
    await doors.put("a", "two")
    assert (await doors.ask("GET", "/api/key", key="a"))["value"] == "two"
    old = await doors.ask("GET", "/api/key", key="a", revision=first)
    assert (old["value"], old["version"]) == ("one", 1)
    assert (await doors.ask("DELETE", "/api/key", key="a"))["deleted"] == 1
    assert (await doors.ask("DELETE", "/api/key", key="a"))["deleted"] == 0
    assert kind(await doors.ask("GET", "/api/key", 404, key="a")) == "key-absent"
    ahead = await doors.ask("GET", "/api/key", 404, key="a", revision=99)
    assert kind(ahead) == "revision-ahead"
    history = await doors.ask("GET", "/api/history", key="a")
    assert [one["version"] for one in history["items"]] == [0, 2, 1]


async def test_what_is_no_text_is_base64(doors) -> None:
    body = {"key_base64": "/w==", "value_base64": "//8A"}
    await doors.ask("PUT", "/api/key", body=body)
    found = await doors.ask("GET", "/api/key", key_base64="/w==")
    assert found["value_base64"] == "//8A"
    assert "value" not in found
    await doors.ask("PUT", "/api/key", 400, {"key": "a", "key_base64": "/w=="})
    await doors.ask("GET", "/api/key", 400, key_base64="no base64")
    await doors.ask("GET", "/api/key", 400)


async def test_what_is_too_large_is_refused_and_a_large_value_is_taken(doors) -> None:
    value = base64.b64encode(b"\xff" * 1_000_000).decode()
    await doors.ask("PUT", "/api/key", body={"key": "a", "value_base64": value})
    more = base64.b64encode(b"\xff" * (VALUE_BYTES_MAX + 1)).decode()
    await doors.ask("PUT", "/api/key", 413, {"key": "a", "value_base64": more})
    await doors.put("k" * KEY_BYTES_MAX)
    await doors.ask("PUT", "/api/key", 413, {"key": "k" * (KEY_BYTES_MAX + 1), "value": ""})


async def test_keys_come_in_pages_by_prefix(doors) -> None:
    for n in range(5):
        await doors.put(f"a/{n}", "x" * (600_000 if n < 2 else 1))
    await doors.put("b")
    found, query = [], {"prefix": "a/", "limit": 3}
    sizes = []
    while True:
        page = await doors.ask("GET", "/api/keys", **query)
        assert page["count"] == 5
        sizes.append(len(page["items"]))
        found += [one["key"] for one in page["items"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert found == [f"a/{n}" for n in range(5)]
    assert sizes == [2, 3], "a page ends once its values are large"
    await doors.ask("GET", "/api/keys", limit=PAGE_ITEMS_MAX)
    await doors.ask("GET", "/api/keys", 400, limit=PAGE_ITEMS_MAX + 1)
    await doors.ask("GET", "/api/keys", 400, cursor="no cursor of ours")
    assert (await doors.ask("DELETE", "/api/keys", prefix="a/"))["deleted"] == 5
    await doors.ask("DELETE", "/api/keys", 400)


async def test_accounts_are_neither_shown_nor_changed(doors) -> None:
    await doors.node.put(Put(b"\0users/root", b"secret"))
    assert (await doors.ask("GET", "/api/keys"))["items"] == []
    for path in ("/api/key", "/api/history", "/api/changes"):
        problem = await doors.ask("GET", path, 403, key="\0users/root")
        assert kind(problem) == "key-reserved"
    await doors.ask("GET", "/api/keys", 403, prefix="\0")
    await doors.ask("DELETE", "/api/keys", 403, prefix="\0")
    await doors.ask("PUT", "/api/key", 403, {"key": "\0users/root"})
    await doors.ask("PUT", "/api/queue", 403, {"name": "\0q", "lease": await doors.granted()})


async def test_history_comes_in_pages_and_ends_where_it_was_compacted(doors) -> None:
    revisions = [(await doors.put("a", str(n)))["revision"] for n in range(6)]
    page = await doors.ask("GET", "/api/history", key="a", limit=4)
    assert [one["value"] for one in page["items"]] == ["5", "4", "3", "2"]
    rest = await doors.ask("GET", "/api/history", key="a", before=page["next"])
    assert [one["value"] for one in rest["items"]] == ["1", "0"]
    assert rest["next"] is None
    await doors.node.compact(revisions[3])
    kept = await doors.ask("GET", "/api/history", key="a")
    assert [one["value"] for one in kept["items"]] == ["5", "4", "3"]
    assert kept["compacted"] == revisions[3]
    gone = await doors.ask("GET", "/api/key", 410, key="a", revision=revisions[0])
    assert kind(gone) == "revision-compacted"
    assert kind(await doors.ask("GET", "/api/history", 404, key="b")) == "key-absent"


async def test_changes_are_told_from_a_revision_on_and_waited_for(doors) -> None:
    await doors.put("a", "one")
    revision = (await doors.put("a", "two"))["revision"]
    await doors.put("b")
    told = await doors.ask("GET", "/api/changes", key="a", revision=revision)
    [change] = told["changes"]
    assert (change["now"]["value"], change["previous"]["value"]) == ("two", "one")
    waiting = asyncio.create_task(
        doors.ask("GET", "/api/changes", prefix="", revision=revision + 2, wait_s=20)
    )
    await asyncio.sleep(0)
    await doors.ask("DELETE", "/api/key", key="a")
    told = await waiting
    assert [one["deleted"] for one in told["changes"]] == [True]
    nothing = await doors.ask("GET", "/api/changes", key="a", revision=told["next"])
    assert nothing == {"changes": [], "next": told["next"]}
    await doors.ask("GET", "/api/changes", 400, key="a", prefix="b")
    await doors.node.compact(revision + 2)
    await doors.ask("GET", "/api/changes", 410, key="a", revision=1)
    await doors.ask("GET", "/api/watch", 410, key="a", revision=1)


async def test_a_lock_is_held_by_the_first_and_goes_to_the_next(doors) -> None:
    one, turn = await doors.entered("stock")
    assert turn["is_first"]
    two, waits = await doors.entered("stock")
    assert not waits["is_first"]
    [lock] = (await doors.ask("GET", "/api/locks"))["items"]
    assert (lock["name"], lock["count"]) == ("stock", 2)
    assert lock["first"]["created"] == turn["token"]
    queue = await doors.ask("GET", "/api/queue", name="stock")
    assert [place["lease"]["id"] for place in queue["items"]] == [one, two]
    body = {"name": "stock", "lease": two, "wait_s": 20}
    waiting = asyncio.create_task(doors.ask("PUT", "/api/queue", body=body))
    await asyncio.sleep(0)
    await doors.ask("DELETE", "/api/queue", 204, name="stock", lease=one)
    held = await waiting
    assert held["is_first"]
    assert held["token"] == waits["token"] > turn["token"]
    await doors.ask("DELETE", f"/api/leases/{two}", 204)
    assert (await doors.ask("GET", "/api/locks"))["items"] == []
    await doors.ask("PUT", "/api/queue", 404, body)
    assert kind(await doors.ask("GET", "/api/queue", 404, name="stock")) == "key-absent"


async def test_what_systems_of_the_town_hold_is_told_by_its_name(doors) -> None:
    async with doors.serving.view("shop") as coord:
        lease = (await coord.grant(60)).id
        hold = await coord.acquire("a/b", lease=lease)
        await coord.campaign("cook", b"me", lease=lease)
        await coord.register("chat", "one", b"10.0.0.1", lease=lease)
        for path, name in (("locks", "a/b"), ("elections", "cook"), ("services", "chat")):
            [found] = (await doors.ask("GET", f"/api/{path}"))["items"]
            assert (found["name"], found["client"]) == (name, "shop")
            if path == "locks":
                assert found["first"]["created"] == hold.token
    await doors.entered("strangers", "candidate")
    page = await doors.ask("GET", "/api/elections", limit=1)
    assert page["items"][0]["name"] == "cook"
    page = await doors.ask("GET", "/api/elections", limit=1, cursor=page["next"])
    assert [one["name"] for one in page["items"]] == ["strangers"]
    assert page["next"] is None


async def test_leases_are_granted_kept_listed_and_revoked(doors) -> None:
    lease = await doors.granted(30)
    await doors.put("a", lease=lease)
    doors.town.clock.advance(10)
    found = await doors.ask("GET", f"/api/leases/{lease}")
    assert (found["left_s"], found["keys"]) == (20.0, ["a"])
    assert (await doors.ask("PUT", f"/api/leases/{lease}"))["left_s"] == 30
    await doors.granted()
    page = await doors.ask("GET", "/api/leases", limit=1)
    rest = await doors.ask("GET", "/api/leases", cursor=page["next"])
    assert len(page["items"]) == len(rest["items"]) == 1
    await doors.ask("DELETE", f"/api/leases/{lease}", 204)
    assert kind(await doors.ask("GET", f"/api/leases/{lease}", 404)) == "lease-missing"
    await doors.ask("GET", "/api/leases/xyz", 400)
    body = {"ttl_s": 5, "id": "7b"}
    assert (await doors.ask("POST", "/api/leases", 201, body))["id"] == "7b"
    assert kind(await doors.ask("POST", "/api/leases", 409, body)) == "lease-exists"


async def test_the_group_is_told_and_its_members_are_not_changed_alone(doors) -> None:
    standing = await doors.ask("GET", "/api/standing")
    [node] = standing["nodes"]
    assert (node["role"], standing["leader"]) == ("leader", "1")
    await doors.ask("POST", "/api/members", 400, {"peer_address": "127.0.0.1:1"})
    await doors.ask("DELETE", "/api/members/7", 404)
    await doors.ask("PUT", "/api/members/1/vote", 400)
    await doors.ask("PUT", "/api/members/one/vote", 400)


async def test_a_snapshot_is_whole_and_holds_all(doors) -> None:
    await doors.put("a", "one")
    reply = await doors.client.get("/api/snapshot")
    assert reply.headers["content-type"] == "application/octet-stream"
    found = restore([reply.content]).store.get(b"a")
    assert found is not None
    assert found.value == b"one"


async def test_a_stranger_is_refused_at_every_door(doors) -> None:
    stranger = await doors.town.client("coord", address="203.0.113.9")
    for path in ("/api/keys", "/api/locks", "/api/standing", "/api/snapshot", "/demo", "/"):
        assert (await stranger.get(path)).status_code == 403, path
    assert json.loads((await stranger.get("/api/keys")).text)["status"] == 403
