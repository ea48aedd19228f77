"""`bastide log ...`, through the doors of a town."""

import io
import json
import sys
from argparse import ArgumentParser

import pytest

from bastide.base.errors import Denied, Invalid, NotFound
from bastide.engines.log.commands import CHUNK_RECORDS, COMMANDS
from bastide.engines.log.contract import RECORD_BYTES_MAX, RecordTooLarge, TopicRefused
from tests.engines.log.doors_kit import doors_of_log


@pytest.fixture
async def doors():
    async with doors_of_log("ids") as found:
        yield found


@pytest.fixture
def bastide(doors, capsys):
    """`await bastide("tail", "orders")` is what it prints."""

    async def run(name: str, *words: str) -> str:
        command = next(c for c in COMMANDS if c.name == name)
        parser = ArgumentParser()
        command.declare(parser)
        await command.run(doors.client, parser.parse_args(words))
        said: str = capsys.readouterr().out
        return said

    return run


@pytest.fixture
def typed(monkeypatch):
    def type_(given: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))

    return type_


def rows(said: str) -> list[list[str]]:
    return [line.split() for line in said.splitlines()]


@pytest.mark.box("log.commands")
async def test_topics_are_listed_with_what_they_hold(bastide, doors) -> None:
    assert rows(await bastide("topics")) == [["TOPIC", "PARTITIONS", "RECORDS", "BYTES"]]
    for n in range(101):  # more than a page
        await doors.made(f"shop.t{n:03}", *([b"x"] * 2 if n == 100 else ()), partitions=2)
    found = rows(await bastide("topics"))
    assert len(found) == 102
    assert found[1] == ["shop.t000", "2", "0", "0"]
    assert found[-1][:3] == ["shop.t100", "2", "2"]
    assert len(json.loads(await bastide("topics", "--json"))) == 101


@pytest.mark.box("log.commands")
async def test_values_are_appended_and_tailed(bastide) -> None:
    assert await bastide("append", "notes", "one", "", "tw\udcffo") == "appended: 3\n"
    assert await bastide("append", "notes", "--key", "k", "three") == "appended: 1\n"
    said = await bastide("tail", "notes", "--from", "first", "--count", "4")
    assert said == "0\t0\t-\tone\n0\t1\t-\t\n0\t2\t-\tbase64:dHf/bw==\n0\t3\tk\tthree\n"
    said = await bastide("tail", "notes", "--from", "3", "--count", "1", "--json")
    assert json.loads(said)["key"] == "k"


@pytest.mark.parametrize("at", [0, 1, 2, 3])
async def test_options_may_stand_before_and_behind_values(at, bastide) -> None:
    words = ["notes", "a", "b"]
    words[at:at] = ["--key", "k", "--partition", "0"]
    assert await bastide("append", *words) == "appended: 2\n"
    said = await bastide("tail", "notes", "--from", "first", "--count", "2")
    assert said == "0\t0\tk\ta\n0\t1\tk\tb\n"
    with pytest.raises(SystemExit):
        await bastide("append", "notes", "--partitions", "1", "a")


async def test_where_each_record_is_can_be_told_to_a_program(bastide, doors) -> None:
    await doors.made("shop.orders", partitions=3)
    said = await bastide("append", "shop.orders", "--partition", "2", "--json", "a", "b")
    assert json.loads(said) == [{"partition": 2, "offset": 0}, {"partition": 2, "offset": 1}]


async def test_each_line_of_the_standard_input_is_a_record(bastide, typed, doors) -> None:
    count = 2 * CHUNK_RECORDS + 1
    typed(b"".join(b"line %d\n" % n for n in range(count)) + b"\nno end")
    assert await bastide("append", "notes", "--key", "k") == f"appended: {count + 2}\n"
    said = await bastide("tail", "notes", "--from", "first", "--count", str(count + 2))
    values = [line.split("\t")[3] for line in said.splitlines()]
    assert values == [*(f"line {n}" for n in range(count)), "", "no end"]


async def test_a_line_is_taken_up_to_the_limit_of_a_record(bastide, typed) -> None:
    line = b"x" * RECORD_BYTES_MAX
    typed(line + b"\n" + line)
    assert await bastide("append", "notes") == "appended: 2\n"
    typed(line + b"x")
    with pytest.raises(RecordTooLarge):
        await bastide("append", "notes")


async def test_nothing_to_append_is_nothing_done(bastide, typed) -> None:
    typed(b"")
    assert await bastide("append", "notes") == "appended: 0\n"
    assert len(rows(await bastide("topics"))) == 1


@pytest.mark.box("log.tail")
async def test_a_tail_goes_over_all_partitions_or_one(bastide, doors) -> None:
    await doors.made("shop.orders", partitions=3)
    for partition in (0, 1, 1, 2):
        await bastide("append", "shop.orders", "--partition", str(partition), f"in {partition}")
    words = ("tail", "shop.orders", "--from", "first")
    said = await bastide(*words, "--count", "4")
    assert sorted(line.split("\t")[3] for line in said.splitlines()) == [
        *("in 0", "in 1", "in 1", "in 2")
    ]
    said = await bastide(*words, "--partition", "1", "--count", "2")
    assert said == "1\t0\t-\tin 1\n1\t1\t-\tin 1\n"
    with pytest.raises(TopicRefused, match="--partition says of which 1 is"):
        await bastide("tail", "shop.orders", "--from", "1")
    with pytest.raises(Invalid, match=r"partition 3; shop.orders has 0 to 2"):
        await bastide("tail", "shop.orders", "--partition", "3")
    with pytest.raises(NotFound, match="ahead of the end"):
        await bastide("tail", "shop.orders", "--partition", "0", "--from", "9")


async def test_what_is_refused_is_told_in_the_towns_words(bastide) -> None:
    with pytest.raises(NotFound, match="there is no topic 'nothing'"):
        await bastide("tail", "nothing")
    with pytest.raises(Denied, match=r"ids.minted is appended to by ids alone"):
        await bastide("append", "ids.minted", "x")
    with pytest.raises(NotFound, match="there is no group 'no/such'"):
        await bastide("groups", "no/such")
    for name in ("", ".", "..", "a/b"):
        with pytest.raises(TopicRefused):
            await bastide("tail", name)
    with pytest.raises(Invalid, match="is no name of a topic"):
        await bastide("append", "bad name", "x")
    with pytest.raises(SystemExit):
        await bastide("tail", "notes", "--from", "middle")


@pytest.mark.box("log.commands")
async def test_groups_are_listed_and_one_is_told_by_partition(bastide, doors) -> None:
    await doors.made("shop.orders", b"a", b"b", b"c", partitions=2)
    async with doors.log.member("billing", ["shop.orders"]) as member:
        found = rows(await bastide("groups"))
        assert found == [
            ["GROUP", "STATE", "GENERATION", "MEMBERS", "LAG"],
            ["billing", "stable", "1", "1", "3"],
        ]
        told = (await bastide("groups", "billing")).splitlines()
        assert told[0] == "stable, generation 1, lag 3"
        assert told[2].split()[:5] == ["shop.orders", "0", "-", "3", "3"]
        assert len(member.partitions) == 2
    await doors.committed("billing", "shop.orders", 2)
    told = (await bastide("groups", "billing")).splitlines()
    assert told[2].split() == ["shop.orders", "0", "2", "3", "1", "-"]
    assert json.loads(await bastide("groups", "billing", "--json"))["lag"] == 1
    assert json.loads(await bastide("groups", "--json"))[0]["name"] == "billing"
