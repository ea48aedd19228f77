"""Clients in Python that are not ours: aetcd by gRPC (grpcio), etcd3gw by the JSON gateway."""

import asyncio
import json

import aetcd
import etcd3gw
import httpx
import pytest

from bastide.engines.coord.contract import Put
from tests.engines.coord.wire_kit import HOST, WITHIN_S, door, new_etcd


@pytest.fixture
async def ours():
    async with door() as opened:
        yield opened


@pytest.fixture
async def aclient(ours):
    async with aetcd.Client(host=HOST, port=ours.port, timeout=WITHIN_S) as client:
        yield client


async def test_aetcd_puts_gets_deletes_and_pages(aclient):
    await aclient.put(b"a/1", b"one")
    assert (await aclient.put(b"a/1", b"two", prev_kv=True)).prev_kv.value == b"one"
    await aclient.put(b"a/2", b"x")
    assert (await aclient.get(b"a/1")).value == b"two"
    assert [kv.key for kv in await aclient.get_prefix(b"a/")] == [b"a/1", b"a/2"]
    assert await aclient.delete(b"a/1")
    assert await aclient.get(b"a/1") is None
    assert await aclient.replace(b"a/2", b"x", b"y")
    assert not await aclient.replace(b"a/2", b"x", b"z")


async def test_aetcd_makes_a_transaction(aclient):
    await aclient.put(b"a", b"1")
    then = [aclient.transactions.put(b"b", b"2"), aclient.transactions.get(b"a")]
    held, _ = await aclient.transaction(
        compare=[aclient.transactions.value(b"a") == b"1"], success=then, failure=[]
    )
    assert held
    assert (await aclient.get(b"b")).value == b"2"


async def test_aetcd_watches_and_leases(aclient):
    lease = await aclient.lease(60)
    watch = await aclient.watch_prefix(b"a")
    await aclient.put(b"a1", b"1", lease=lease)
    await lease.revoke()
    told = []
    async for event in watch:
        told.append((event.kind, event.kv.key))
        if len(told) == 2:
            break
    assert [key for _, key in told] == [b"a1", b"a1"]
    assert [str(kind) for kind, _ in told] == ["PUT", "DELETE"]


async def test_aetcd_holds_a_lock(aclient):
    async with aclient.lock(b"room", ttl=60):
        other = aclient.lock(b"room", ttl=60)
        assert not await other.acquire(timeout=0.1)
    assert await other.acquire()
    await other.release()


async def test_etcd3gw_does_all_that_it_can(ours):
    def run():
        client = etcd3gw.client(host=HOST, port=ours.port, api_path="/v3/", timeout=WITHIN_S)
        client.put("a", "1")
        assert client.get("a") == [b"1"]
        assert client.create("a", "2") is False
        assert client.replace("a", "1", "3")
        lease = client.lease(ttl=60)
        client.put("b", "x", lease=lease)
        assert lease.keys() == [b"b"]
        assert lease.refresh() == 60
        assert lease.revoke()
        assert client.get("b") == []
        with client.lock("room", ttl=60) as lock:
            assert lock.is_acquired()
            assert not client.lock("room", ttl=60).acquire()
        assert client.members()[0]["ID"] == "1"
        assert client.status()["version"]
        assert client.delete("a")
        events, cancel = client.watch("w", start_revision=2)
        client.put("w", "seen")
        assert next(events)["kv"]["value"] == b"seen"
        cancel()

    await asyncio.to_thread(run)


# --- the gateway, beside etcd's -------------------------------------------------------------------

ASKED = [
    ("kv/put", {"key": "Zm9v", "value": "YmFy"}),
    ("kv/put", {"key": "Zm9v", "value": "YmF6", "prev_kv": True}),
    ("kv/range", {"key": "Zm9v"}),
    ("kv/range", {"key": "Zm9v", "limit": 5, "sort_order": "DESCEND", "sort_target": "KEY"}),
    ("kv/range", {"key": "AA==", "range_end": "AA==", "count_only": True}),
    ("kv/range", {"key": "Zm9v", "who": "knows"}),
    ("kv/range", {"key": ""}),
    ("kv/range", {"key": "Zm9v", "revision": "99"}),
    (
        "kv/txn",
        {
            "compare": [{"result": "EQUAL", "target": "VERSION", "key": "Zm9v", "version": "2"}],
            "success": [{"requestPut": {"key": "Zm9v", "value": "MQ=="}}],
            "failure": [{"request_range": {"key": "Zm9v"}}],
        },
    ),
    ("kv/txn", {"compare": [{"key": "Zm9v", "target": "VALUE", "value": "MQ=="}]}),
    ("kv/deleterange", {"key": "bm9uZQ=="}),
    ("kv/compaction", {"revision": "3"}),
    ("kv/compaction", {"revision": "3"}),
    ("kv/range", {"key": "Zm9v", "revision": "2"}),
    ("lease/grant", {"TTL": "60", "ID": "7"}),
    ("lease/grant", {"TTL": "60", "ID": "7"}),
    ("kv/put", {"key": "bA==", "lease": "7"}),
    ("lease/timetolive", {"ID": "7", "keys": True}),
    ("kv/lease/timetolive", {"ID": 9}),
    ("lease/leases", {}),
    ("lease/keepalive", {"ID": "7"}),
    ("lease/keepalive", {"ID": "9"}),
    ("lease/revoke", {"ID": "7"}),
    ("lease/revoke", {"ID": "7"}),
    ("auth/enable", {}),
    ("auth/user/add", {"name": "ann", "password": "secret"}),
    ("auth/user/list", {}),
    ("auth/authenticate", {"name": "ann", "password": "secret"}),
    ("lock/unlock", {"key": "bA=="}),
    ("election/leader", {"name": "bA=="}),
    ("maintenance/alarm", {}),
    ("maintenance/defragment", {}),
]
OWN = ("cluster_id", "member_id", "raft_term", "TTL", "revision")


def without_own(value):
    if isinstance(value, dict):
        return {name: without_own(one) for name, one in value.items() if name not in OWN}
    return [without_own(one) for one in value] if isinstance(value, list) else value


@pytest.mark.engine("etcd")
@pytest.mark.parametrize("prefix", ["/v3", "/v3beta"])
async def test_every_answer_of_the_gateway_is_that_of_a_real_etcd(ours, tmp_path, prefix):
    async with new_etcd(tmp_path) as real, httpx.AsyncClient(timeout=WITHIN_S) as http:
        for path, body in ASKED:
            told = []
            for address in (real, ours.address):
                reply = await http.post(f"http://{address}{prefix}/{path}", json=body)
                lines = reply.text.splitlines()
                answers = [without_own(json.loads(line)) for line in lines]
                told.append((reply.status_code, answers))
            assert told[0] == told[1], path


async def test_the_gateway_watches_line_by_line(ours):
    await ours.local.put(Put(b"foo", b"1"))
    asked = {"create_request": {"key": "Zm9v", "start_revision": "2"}}
    async with (
        httpx.AsyncClient(timeout=WITHIN_S) as http,
        http.stream("POST", f"http://{ours.address}/v3/watch", json=asked) as reply,
    ):
        lines = reply.aiter_lines()
        assert json.loads(await anext(lines))["result"]["created"]
        event = json.loads(await anext(lines))["result"]["events"][0]
        assert event == {"kv": {**event["kv"], "key": "Zm9v", "value": "MQ=="}}


async def test_the_gateway_tells_machines_how_it_is(ours):
    async with httpx.AsyncClient(base_url=f"http://{ours.address}") as http:
        assert (await http.get("/health")).json() == {"health": "true"}
        assert set((await http.get("/version")).json()) == {"etcdserver", "etcdcluster"}
        assert "bastide_coord_connections" in (await http.get("/metrics")).text


@pytest.mark.parametrize("body", ["{", "[]", '{"key": 1}', '{"key": "="}', "\xff", "1"])
async def test_the_gateway_refuses_what_is_no_message(ours, body):
    async with httpx.AsyncClient(base_url=f"http://{ours.address}") as http:
        for path in ("/v3/kv/range", "/v3/watch"):
            if "key" in body and path == "/v3/watch":
                continue  # a watch has no such field, and what is not known is let go
            reply = await http.post(path, content=body.encode("latin-1"))
            assert (reply.status_code, reply.json()["code"]) == (400, 3)


async def test_an_account_is_asked_for_its_token_by_the_gateway_too(ours):
    async with httpx.AsyncClient(base_url=f"http://{ours.address}/v3/") as http:

        async def ask(path, body, token=""):
            headers = {"authorization": token} if token else {}
            reply = await http.post(path, json=body, headers=headers)
            return reply.status_code, reply.json()

        await ask("auth/user/add", {"name": "root", "password": "pw"})
        await ask("auth/role/add", {"name": "root"})
        await ask("auth/user/grant", {"user": "root", "role": "root"})
        assert (await ask("auth/enable", {}))[0] == 200
        assert (await ask("kv/range", {"key": "YQ=="}))[0] == 400
        assert (await ask("kv/range", {"key": "YQ=="}, "wrong"))[0] == 401
        _, told = await ask("auth/authenticate", {"name": "root", "password": "pw"})
        assert (await ask("kv/range", {"key": "YQ=="}, told["token"]))[0] == 200
