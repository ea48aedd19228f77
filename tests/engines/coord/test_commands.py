"""`bastide coord ...`, through the doors of a town."""

import asyncio
import io
import json
import sys
from argparse import ArgumentParser

import pytest

from bastide.base.errors import Invalid, NotFound
from bastide.base.rt.runtime import Runtime, run_on
from bastide.engines.coord.commands import COMMANDS
from bastide.engines.coord.contract import Range
from bastide.engines.coord.core.snapshots import SnapshotDamaged
from bastide.engines.coord.model import Settings
from bastide.engines.coord.service.node import open_node
from bastide.engines.coord.service.restoring import COMING, StoreThere
from tests.engines.coord.doors_kit import doors_of_coord
from tests.engines.coord.node_kit import eventually


@pytest.fixture
async def doors():
    async with doors_of_coord() as found:
        yield found


@pytest.fixture
def bastide(doors, capfd):
    """`await bastide("get", "a")` is what it prints."""

    async def run(name: str, *words: str) -> str:
        command = next(c for c in COMMANDS if c.name == name)
        parser = ArgumentParser()
        command.declare(parser)
        await command.run(doors.client, parser.parse_args(words))
        said: str = capfd.readouterr().out
        return said

    return run


async def test_keys_are_put_and_got_as_with_etcdctl(bastide, monkeypatch) -> None:
    assert await bastide("put", "a/1", "one") == "OK\n"
    revision = json.loads(await bastide("put", "a/1", "two", "--json"))["revision"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff")))
    await bastide("put", "a/2")
    assert await bastide("get", "a/1") == "a/1\ntwo\n"
    assert await bastide("get", "a/1", "--print-value-only") == "two\n"
    assert await bastide("get", "a/1", "--rev", str(revision - 1)) == "a/1\none\n"
    assert await bastide("get", "a", "--prefix") == "a/1\ntwo\na/2\nbase64:/w==\n"
    assert await bastide("get", "a", "--prefix", "--limit", "1") == "a/1\ntwo\n"
    assert await bastide("get", "a/1", "--history") == f"{revision}\ttwo\n{revision - 1}\tone\n"
    assert json.loads(await bastide("get", "a/1", "--json"))[0]["value"] == "two"
    with pytest.raises(NotFound, match="there is no key"):
        await bastide("get", "nothing")


async def test_changes_are_watched_from_a_revision_on(bastide, doors) -> None:
    revision = (await doors.put("a", "one"))["revision"]
    await doors.ask("DELETE", "/api/key", key="a")
    said = await bastide("watch", "a", "--rev", str(revision), "--count", "2")
    assert said == f"PUT\t{revision}\ta\tone\nDELETE\t{revision + 1}\ta\n"
    said = await bastide("watch", "", "--prefix", "--rev", "1", "--count", "1", "--json")
    assert json.loads(said)["now"]["key"] == "a"


async def test_a_command_runs_while_the_lock_is_held_and_is_told_its_token(bastide, doors) -> None:
    said = await bastide("lock", "stock", "sh", "-c", "echo $COORD_TOKEN $COORD_KEY")
    token, key = said.split()
    assert int(token) > 1
    assert key.startswith("stock/")
    assert (await doors.ask("GET", "/api/locks"))["items"] == []
    with pytest.raises(SystemExit) as code:
        await bastide("lock", "stock", "sh", "-c", "exit 7")
    assert code.value.code == 7
    with pytest.raises(Invalid, match="can't be run"):
        await bastide("lock", "stock", "/no/such/program")


async def test_who_waits_for_a_lock_runs_after_who_holds_it(bastide, doors) -> None:
    lease, turn = await doors.entered("stock")
    running = asyncio.create_task(bastide("lock", "stock", "sh", "-c", "echo $COORD_TOKEN"))

    async def waits():
        return (await doors.ask("GET", "/api/locks"))["items"][0]["count"] == 2

    await eventually(waits)
    await doors.ask("DELETE", "/api/queue", 204, name="stock", lease=lease)
    assert int(await running) > turn["token"]


async def test_who_leads_is_told(bastide, doors) -> None:
    await doors.entered("cook", "me")
    assert (await bastide("elect", "cook", "--listen")).endswith("\nme\n")
    with pytest.raises(Invalid, match="tells a VALUE"):
        await bastide("elect", "cook")
    standing = asyncio.create_task(bastide("elect", "chef", "you"))

    async def chefs():
        return (await doors.ask("GET", "/api/elections"))["items"][:-1]

    found = await eventually(chefs)
    assert found[0]["first"]["value"] == "you"
    standing.cancel()
    await asyncio.gather(standing, return_exceptions=True)
    assert [q["name"] for q in (await doors.ask("GET", "/api/elections"))["items"]] == ["cook"]


async def test_members_are_listed(bastide) -> None:
    said = await bastide("members")
    assert said.splitlines()[1].split()[:3] == ["1", "node1", "leader"]
    assert json.loads(await bastide("members", "--json"))["leader"] == "1"
    with pytest.raises(NotFound):
        await bastide("members", "--remove", "9")
    with pytest.raises(Invalid):
        await bastide("members", "--remove", "x")


async def test_a_snapshot_is_restored_to_a_store_that_goes_on(bastide, doors, tmp_path) -> None:
    lease = await doors.granted(60)
    await doors.put("a", "one", lease=lease)
    revision = (await doors.put("a", "two", lease=lease))["revision"]
    file, data = tmp_path / "kept", tmp_path / "data"
    assert (await bastide("snapshot", str(file))).endswith(f"revision {revision}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    (data / COMING).mkdir(parents=True)  # of one that was killed
    (data / COMING / "torn").write_bytes(b"x")
    said = await bastide("restore", str(file), "--data", str(data))
    assert said.startswith(f"restored: revision {revision};")
    with pytest.raises(StoreThere, match="has a store already"):
        await bastide("restore", str(file), "--data", str(data))
    run_on(Runtime())  # a node that was there before waits for an election by its clock
    for _ in range(2):  # it stays
        async with open_node(data / "coord", Settings()) as node:
            [item] = (await node.range(Range(b"a"))).items
            assert (item.value, item.version, item.changed) == (b"two", 2, revision)
            [old] = (await node.range(Range(b"a", revision=revision - 1))).items
            assert old.value == b"one"
            assert 55 < (await node.lease(int(lease, 16))).left_s <= 60


async def test_a_damaged_snapshot_makes_no_store(bastide, doors, tmp_path) -> None:
    await doors.put("a", "one")
    file, data = tmp_path / "kept", tmp_path / "data"
    await bastide("snapshot", str(file))
    whole = file.read_bytes()
    for damaged in (b"", whole[:-1], whole[:30] + b"\xff" + whole[31:]):
        file.write_bytes(damaged)
        with pytest.raises(SnapshotDamaged):
            await bastide("restore", str(file), "--data", str(data))
    assert not data.exists()
    with pytest.raises(Invalid, match="can't be restored"):
        await bastide("restore", str(tmp_path / "nothing"), "--data", str(data))
    with pytest.raises(Invalid, match="can't be written"):
        await bastide("snapshot", str(tmp_path / "no" / "where"))
