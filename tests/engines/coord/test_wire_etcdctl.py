"""etcdctl, as its package installs it, against our door; and beside a real etcd, word by word."""

import hashlib
import json
import re
from contextlib import asynccontextmanager

import pytest

from bastide.engines.coord.contract import Put
from bastide.engines.coord.model import Settings
from bastide.engines.coord.service.node import open_node
from tests.engines.coord.wire_kit import Etcdctl, door, ended, etcd_address, line_of, new_etcd

# Commands and what they are given, in order, on a store that is new.
KEYS = [
    (("put", "a", "1"), ""),
    (("put", "a", "2", "--prev-kv"), ""),
    (("put", "b", "-w", "fields"), "from outside"),
    (("put", "b/1", "x"), ""),
    (("put", "b/2", "y"), ""),
    (("get", "a"), ""),
    (("get", "a", "--print-value-only"), ""),
    (("get", "a", "-w", "json"), ""),
    (("get", "a", "-w", "fields"), ""),
    (("get", "a", "-w", "protobuf"), ""),
    (("get", "a", "--rev=2"), ""),
    (("get", "a", "--rev=999"), ""),
    (("get", "nothing"), ""),
    (("get", "nothing", "-w", "json"), ""),
    (("get", "", "--prefix"), ""),
    (("get", "", "--from-key"), ""),
    (("get", "b", "--prefix", "--keys-only"), ""),
    (("get", "b", "--from-key", "--limit=2", "-w", "json"), ""),
    (("get", "a", "c", "--order=DESCEND", "--sort-by=CREATE"), ""),
    (("get", "a", "c", "--order=ASCEND", "--sort-by=VALUE"), ""),
    (("get", "a", "c", "--sort-by=MODIFY"), ""),
    (("get", "a", "--consistency=s"), ""),
    (("put", "a", "--ignore-value"), ""),
    (("put", "none", "--ignore-value"), ""),
    (("put", "none", "--ignore-lease", "x"), ""),
    (("put", "a", "x", "--lease=777"), ""),
    (("put", "", "x"), ""),
    (("txn",), 'value("a") = "2"\n\nput a 3\nget a\n\nget b\n\n'),
    (("txn",), 'ver("a") > "9"\n\nput a 4\n\nget b\ndel b\n\n'),
    (("txn",), 'mod("a") < "99"\ncreate("a") = "2"\n\ndel a --prev-kv\n\n\n'),
    (("txn",), "\nput q 1\nput q 2\n\n\n"),
    (("del", "nothing"), ""),
    (("del", "b/1", "--prev-kv"), ""),
    (("del", "b", "--prefix", "-w", "json"), ""),
    (("compaction", "5"), ""),
    (("compaction", "5"), ""),
    (("compaction", "5000"), ""),
    (("get", "a", "--rev=2"), ""),
    (("lease", "grant", "100", "-w", "fields"), ""),
    (("lease", "timetolive", "777"), ""),
    (("lease", "timetolive", "777", "-w", "json"), ""),
    (("lease", "revoke", "777"), ""),
    (("lease", "keep-alive", "--once", "777"), ""),
    (("alarm", "list"), ""),
    (("alarm", "disarm"), ""),
    (("defrag",), ""),
    (("member", "remove", "777"), ""),
    (("member", "promote", "777"), ""),
]
ACCOUNTS = [
    (("auth", "enable"), ""),
    (("user", "add", "root:pw"), ""),
    (("user", "add", "root:pw"), ""),
    (("user", "add", "ann:secret"), ""),
    (("user", "add", "bob", "--no-password"), ""),
    (("user", "list"), ""),
    (("user", "get", "ann"), ""),
    (("user", "get", "nobody"), ""),
    (("role", "add", "root"), ""),
    (("role", "add", "some"), ""),
    (("role", "add", "some"), ""),
    (("role", "grant-permission", "some", "readwrite", "a", "c"), ""),
    (("role", "grant-permission", "some", "read", "x"), ""),
    (("role", "grant-permission", "none", "read", "x"), ""),
    (("role", "grant-permission", "some", "read", "p/", "--prefix"), ""),
    (("role", "get", "some"), ""),
    (("role", "get", "none"), ""),
    (("role", "list"), ""),
    (("user", "grant-role", "ann", "some"), ""),
    (("user", "grant-role", "ann", "none"), ""),
    (("user", "grant-role", "root", "root"), ""),
    (("user", "get", "ann", "--detail"), ""),
    (("auth", "enable"), ""),
    (("get", "a"), ""),
    (("--user=root:wrong", "get", "a"), ""),
    (("--user=bob:", "get", "a"), ""),
    (("--user=root:pw", "put", "z", "1"), ""),
    (("--user=ann:secret", "put", "a", "1"), ""),
    (("--user=ann:secret", "put", "z", "1"), ""),
    (("--user=ann:secret", "put", "x", "1"), ""),
    (("--user=ann:secret", "get", "x"), ""),
    (("--user=ann:secret", "get", "a", "c"), ""),
    (("--user=ann:secret", "get", "a", "d"), ""),
    (("--user=ann:secret", "get", "p/", "--prefix"), ""),
    (("--user=ann:secret", "get", "", "--prefix"), ""),
    (("--user=ann:secret", "del", "a"), ""),
    (("--user=ann:secret", "txn"), 'ver("a") = "0"\n\nput a 3\n\nget b\n\n'),
    (("--user=ann:secret", "txn"), 'ver("a") = "0"\n\nput a 3\n\nget z\n\n'),
    (("--user=ann:secret", "user", "list"), ""),
    (("--user=ann:secret", "user", "get", "ann"), ""),
    (("--user=ann:secret", "role", "get", "some"), ""),
    (("--user=ann:secret", "compaction", "1"), ""),
    (("--user=root:pw", "user", "delete", "root"), ""),
    (("--user=root:pw", "role", "delete", "root"), ""),
    (("--user=root:pw", "user", "revoke-role", "root", "root"), ""),
    (("--user=root:pw", "role", "revoke-permission", "some", "x"), ""),
    (("--user=root:pw", "role", "revoke-permission", "some", "x"), ""),
    (("--user=ann:secret", "get", "x"), ""),
    (("--user=root:pw", "user", "passwd", "ann", "--interactive=false"), "new\n"),
    (("--user=ann:secret", "get", "a"), ""),
    (("--user=ann:new", "get", "a"), ""),
    (("--user=root:pw", "user", "revoke-role", "ann", "some"), ""),
    (("--user=root:pw", "user", "revoke-role", "ann", "some"), ""),
    (("--user=ann:new", "get", "a"), ""),
    (("--user=root:pw", "role", "delete", "some"), ""),
    (("--user=root:pw", "user", "delete", "bob"), ""),
    (("--user=root:pw", "auth", "disable"), ""),
    (("get", "z"), ""),
]
# What no two clusters have in common, and times.
OWN = (
    (
        re.compile(
            r'("?(?:cluster_id|member_id|ClusterID|MemberID|raft_term|RaftTerm|ID)"? ?: ?)\d+'
        ),
        r"\1N",
    ),
    (re.compile(r'"ts":"[^"]*"|\b\d{4}-\d\d-\d\dT[^ ,]*'), "TIME"),
    (re.compile(r"http://[\d.:]+|127\.0\.0\.1:\d+|0x[0-9a-f]+|endpoint://[^ \",]*"), "PLACE"),
)
REVISIONS = re.compile(r'("?(?:revision|Revision|ModRevision|CreateRevision)"? ?: ?)\d+')


@asynccontextmanager
async def on_group(directory):
    """Of one, with its log on the disk."""
    async with open_node(directory / "group", Settings()) as node, door(local=node) as ours:
        yield ours


PLACES = {"memory": lambda _: door(), "group": on_group}


async def said_by(etcdctl, words, given):
    running = await etcdctl.start(*words)
    told, errors = await running.communicate(given.encode())
    text = f"{running.returncode}\n{told.decode(errors='replace')}\n{errors.decode()}"
    for pattern, instead in OWN:
        text = pattern.sub(instead, text)
    return text


@pytest.mark.engine("etcd")
@pytest.mark.parametrize("where", ["memory", "group"])
@pytest.mark.parametrize("script", [KEYS, ACCOUNTS], ids=["keys", "accounts"])
async def test_every_answer_is_that_of_a_real_etcd(script, where, tmp_path):
    async with new_etcd(tmp_path) as real, PLACES[where](tmp_path) as ours:
        differences = []
        for words, given in script:
            expected = await said_by(Etcdctl(real), words, given)
            found = await said_by(Etcdctl(ours.address), words, given)
            if script is ACCOUNTS:  # ours are rows, and so a change of them has a revision
                expected, found = (REVISIONS.sub(r"\1N", text) for text in (expected, found))
            if words[-1] == "protobuf":  # it has the cluster's number in it
                expected, found = expected[:2], found[:2]
            if expected != found:
                differences.append((words, expected, found))
        assert not differences


@pytest.fixture
async def ours():
    async with door() as opened:
        yield opened


@pytest.fixture
def etcdctl(ours):
    return Etcdctl(ours.address)


@pytest.mark.shows("coord.client")
@pytest.mark.box("coord.etcdctl")
async def test_a_watch_prints_what_changes(ours, etcdctl):
    await etcdctl("put", "a", "0")
    running = await etcdctl.start("watch", "a", "--rev=2", "--prev-kv")
    try:
        assert [await line_of(running) for _ in range(3)] == ["PUT", "a", "0"]
        await etcdctl("put", "a", "1")
        assert [await line_of(running) for _ in range(5)] == ["PUT", "a", "0", "a", "1"]
        await etcdctl("del", "a")
        assert [await line_of(running) for _ in range(5)] == ["DELETE", "a", "1", "a", ""]
    finally:
        await ended(running)


async def test_a_watch_of_what_was_compacted_says_so(ours, etcdctl):
    for value in "123":
        await etcdctl("put", "a", value)
    await etcdctl("compaction", "4")
    told = await etcdctl("watch", "a", "--rev=2", fails=True)
    assert "required revision has been compacted" in told


async def test_several_watches_share_a_stream(ours, etcdctl):
    running = await etcdctl.start("watch", "-i")
    try:
        running.stdin.write(b"watch a\nwatch b c\nprogress\n")
        await running.stdin.drain()
        assert (await line_of(running)).startswith("progress notify")
        await etcdctl("put", "a", "1")
        await etcdctl("put", "bb", "2")
        told = []
        while len(told) < 6:
            line = await line_of(running)
            told += [] if line.startswith("progress") else [line]  # once for each watch
        assert sorted([told[:3], told[3:]]) == [["PUT", "a", "1"], ["PUT", "bb", "2"]]
    finally:
        await ended(running)


@pytest.mark.shows("coord.client")
@pytest.mark.box("coord.etcdctl")
async def test_a_lease_is_granted_kept_alive_looked_at_and_revoked(ours, etcdctl):
    lease = re.search(r"lease (\w+) granted", await etcdctl("lease", "grant", "60"))[1]
    await etcdctl("put", "a", "1", f"--lease={lease}")
    assert f"lease {lease} keepalived with TTL(60)" in await etcdctl(
        "lease", "keep-alive", "--once", lease
    )
    told = await etcdctl("lease", "timetolive", "--keys", lease)
    assert "granted with TTL(60s)" in told
    assert "attached keys([a])" in told
    assert lease in await etcdctl("lease", "list")
    assert await etcdctl("lease", "revoke", lease) == f"lease {lease} revoked\n"
    assert await etcdctl("get", "a") == ""


@pytest.mark.shows("coord.client")
@pytest.mark.box("coord.etcdctl")
async def test_a_lock_is_held_by_one_and_then_by_the_next(ours, etcdctl):
    first = await etcdctl.start("lock", "room")
    second = None
    try:
        held = await line_of(first)
        assert held.startswith("room/")
        second = await etcdctl.start("lock", "room", "echo", "entered")
        assert held in await etcdctl("get", "room", "--prefix", "--keys-only")
        first.terminate()
        assert await line_of(second) == "entered"
    finally:
        for running in filter(None, (first, second)):
            await ended(running)


@pytest.mark.shows("coord.client")
@pytest.mark.box("coord.etcdctl")
async def test_an_election_has_one_leader_and_is_observed(ours, etcdctl):
    leads = await etcdctl.start("elect", "chair", "ann")
    observes = await etcdctl.start("elect", "--listen", "chair")
    try:
        key = await line_of(leads)
        assert key.startswith("chair/")
        assert await line_of(leads) == "ann"
        assert [await line_of(observes) for _ in range(2)] == [key, "ann"]
    finally:
        await ended(leads)
        await ended(observes)


@pytest.mark.shows("coord.client")
@pytest.mark.box("coord.etcdctl")
async def test_a_snapshot_is_saved_as_the_node_gives_it(ours, etcdctl, tmp_path):
    await ours.local.put(Put(b"a", b"1" * 100_000))
    told = await etcdctl("snapshot", "save", str(tmp_path / "saved"))
    assert "Snapshot saved at" in told
    given = b"".join([piece async for piece in ours.local.snapshot()])
    saved = (tmp_path / "saved").read_bytes()
    assert saved.startswith(given)
    assert saved[-32:] == hashlib.sha256(saved[:-32]).digest()


async def test_the_endpoint_is_healthy_and_told_of(ours, etcdctl):
    (status,) = json.loads(await etcdctl("endpoint", "status", "-w", "json"))
    assert status["Status"]["leader"] == status["Status"]["header"]["member_id"]
    (health,) = json.loads(await etcdctl("endpoint", "health", "-w", "json"))
    assert health["health"]
    await ours.local.put(Put(b"a", b"1"))
    (hashed,) = json.loads(await etcdctl("endpoint", "hashkv", "-w", "json"))
    assert hashed["HashKV"]["hash"] == (await ours.local.hash()).hash & 0xFFFFFFFF
    (member,) = json.loads(await etcdctl("member", "list", "-w", "json"))["members"]
    assert member["ID"] == 1


@pytest.mark.engine("etcd")  # it takes a minute, so it is not among the quick ones
async def test_check_perf_passes(ours, etcdctl):
    etcd_address()
    running = await etcdctl.start("check", "perf", "--load=s")
    told, errors = await running.communicate()
    assert b"PASS: Throughput" in told, (told, errors)
