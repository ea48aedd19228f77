"""`bastide bus ...`, through the doors of a town."""

import json
from argparse import ArgumentParser

import pytest

from bastide.base.errors import Conflict, Invalid, NotFound, Unavailable
from bastide.engines.bus.commands import COMMANDS, REASON_SHOWN_MAX
from bastide.engines.log.contract import Record
from bastide.testing.town import raised


@pytest.fixture
def bastide(doors, capsys):
    """`await bastide("dead", "stall")` is what it prints."""
    return speaker(doors.client, capsys)


def speaker(client, capsys):
    async def run(name, *words):
        command = next(c for c in COMMANDS if c.name == name)
        parser = ArgumentParser()
        command.declare(parser)
        try:
            await command.run(client, parser.parse_args(words))
        finally:
            run.said = capsys.readouterr().out
        return run.said

    return run


def rows(said):
    return [line.split() for line in said.splitlines()]


async def test_topics_are_listed_with_their_events_and_who_hears_them(bastide):
    assert rows(await bastide("topics")) == [
        ["TOPIC", "PARTITIONS", "EVENTS", "HEARD", "BY"],
        ["stall.dead", "1", "dead.v1", "-"],
        ["stall.sales", "1", "sold.v1,", "returned.v2", "stall.books"],
    ]
    assert len(json.loads(await bastide("topics", "--json"))) == 2
    [one] = json.loads(await bastide("topics", "stall.sales", "--json"))
    assert one["groups"] == ["stall.books"]


async def test_schemas_are_printed_for_all_topics_or_one(bastide):
    schemas = json.loads(await bastide("topics", "--schema"))
    assert set(schemas) == {"stall.sales", "stall.dead"}
    one = json.loads(await bastide("topics", "stall.sales", "--schema"))
    assert one == {"stall.sales": schemas["stall.sales"]}
    assert set(one["stall.sales"]) == {"sold.v1", "returned.v2"}
    with pytest.raises(NotFound, match=r"no system of this town publishes in 'stall.nothing'"):
        await bastide("topics", "stall.nothing")
    for name in ("", ".", "..", "a/b"):
        with pytest.raises(NotFound):
            await bastide("topics", name)


@pytest.mark.box("bus.lag")
async def test_groups_and_relays_are_listed_with_what_they_have_done(bastide, doors):
    await doors.stall.sell("tea", "bad milk")
    await doors.until_dead(1)
    await doors.until_sold(1)
    header, group = rows(await bastide("groups"))
    assert header == ["GROUP", "TOPIC", "LAG", "HANDLED", "REPEATED", "DEAD", "ERROR"]
    assert group == ["stall.books", "stall.sales", "0", "1", "0", "1", "-"]
    header, relay = rows(await bastide("relays"))
    assert header[0] == "SYSTEM"
    assert (relay[0], relay[-2], relay[-1]) == ("stall", "3", "-")
    assert json.loads(await bastide("groups", "--json"))[0]["dead"] == 1
    assert json.loads(await bastide("relays", "--json"))[0]["relayed"] == 3


async def test_dead_letters_are_listed_the_newest_first(bastide, doors):
    assert rows(await bastide("dead", "stall")) == [["OFFSET", "WHEN", "GROUP", "STATE", "REASON"]]
    await doors.lay(130)
    found = rows(await bastide("dead", "stall"))
    assert len(found) == 51
    assert found[1] == ["129", "1970-01-01", "00:00:00", "books", "waiting", "no", "<good>"]
    found = rows(await bastide("dead", "stall", "--limit", "120", "--before", "125"))
    assert [int(row[0]) for row in found[1:]] == list(range(124, 4, -1))
    assert len(json.loads(await bastide("dead", "stall", "--limit", "1000", "--json"))) == 130
    for wrong in (["--limit", "0"], ["--before", "-1"], ["--show", "x"], ["--show", str(1 << 63)]):
        with pytest.raises(SystemExit):
            await bastide("dead", "stall", *wrong)


@pytest.mark.box("bus.poison")
async def test_one_dead_letter_is_shown_whole(bastide, doors):
    await doors.stall.sell("bad milk", note="y" * 5000)
    await doors.until_dead(1)
    said = await bastide("dead", "stall", "--show", "0")
    first, second, third, *event = said.splitlines()
    assert first.startswith("waiting, of books, 2027-01-15 08:00:00, 1 tries")
    assert second == "stall.sales 0 at 0, key bad milk"
    assert third == "Poison: bad milk is hated"
    assert json.loads("".join(event))["data"] == {"item": "bad milk", "note": "y" * 5000}
    assert json.loads(await bastide("dead", "stall", "--show", "0", "--json"))["lay_at"] == 0
    with pytest.raises(NotFound, match="no dead letter 1"):
        await bastide("dead", "stall", "--show", "1")


async def test_what_is_no_json_is_shown_as_it_is(bastide, doors):
    await doors.stall.sell("tea")
    await doors.until_sold(1)
    await doors.log.append("stall.sales", [Record(b"\xff\x00"), Record(b"not json")])
    await doors.until_dead(2)
    said = await bastide("dead", "stall", "--show", "0")
    assert "it could not be read" in said
    assert said.endswith("base64:/wA=\n")
    assert (await bastide("dead", "stall", "--show", "1")).endswith("not json\n")


async def test_a_long_reason_is_cut_in_a_list_alone(bastide, doors):
    item = "bad " + "x" * 200
    await doors.stall.sell(item)
    await doors.until_dead(1)
    line = (await bastide("dead", "stall")).splitlines()[1]
    assert line.endswith("…")
    assert len(line.partition("Poison")[2]) == REASON_SHOWN_MAX - len("Poison")
    assert f"Poison: {item} is hated" in await bastide("dead", "stall", "--show", "0")


@pytest.mark.box("bus.replay")
async def test_some_or_all_are_replayed_the_oldest_first(bastide, doors):
    await doors.stall.sell("bad a", "bad b", "bad c")
    await doors.until_dead(3)
    doors.stall.hates = False
    assert await bastide("replay", "stall", "1") == "replayed: 1\n"
    assert await bastide("replay", "stall", "--all") == "replayed: 2\n"
    assert await doors.stall.lines() == ["bad b", "bad a", "bad c"]
    assert await bastide("replay", "stall", "--all") == "replayed: 0\n"


@pytest.mark.box("bus.replay")
async def test_what_fails_again_is_told_and_does_not_stop_the_others(bastide, doors):
    await doors.stall.sell("bad a", "bad b")
    await doors.until_dead(2)
    with pytest.raises(Conflict, match="the dead letter 0 failed again, and stays: Poison: bad a"):
        await bastide("replay", "stall", "0")
    assert bastide.said == ""
    await bastide("discard", "stall", "0")
    with pytest.raises(Conflict, match="3 of 3 were refused"):
        await bastide("replay", "stall", "0", "1", "2", "1")
    assert bastide.said == (
        "0: the dead letter 0 was discarded before\n"
        "1: the dead letter 1 failed again, and stays: Poison: bad b is hated\n"
        "2: there is no dead letter 2 in stall.dead\n"
        "replayed: 0\n"
    )
    doors.stall.is_away = True
    with pytest.raises(Unavailable, match="the scales are away"):
        await bastide("replay", "stall", "1", "0")


@pytest.mark.box("bus.replay")
async def test_what_is_discarded_is_said(bastide, doors):
    await doors.stall.sell("bad a", "bad b")
    await doors.until_dead(2)
    assert await bastide("discard", "stall", "0", "1") == "discarded: 2\n"
    assert [row[4] for row in rows(await bastide("dead", "stall"))[1:]] == ["discarded"] * 2
    with pytest.raises(Conflict, match="was discarded before"):
        await bastide("discard", "stall", "0")


async def test_what_is_asked_for_wrongly_is_refused(bastide):
    for words in (["stall"], ["stall", "1", "--all"]):
        with pytest.raises(Invalid, match="give their offsets, or --all"):
            await bastide("replay", *words)
    for name in ("dead", "replay", "discard"):
        with pytest.raises(SystemExit):
            await bastide(name)
    with pytest.raises(SystemExit):
        await bastide("discard", "stall")
    with pytest.raises(NotFound, match="no system 'nobody' is on the bus; these are: stall"):
        await bastide("replay", "nobody", "--all")
    with pytest.raises(NotFound):
        await bastide("dead", "..")


async def test_without_a_running_town_it_says_so(capsys):
    async with raised("bus") as town:
        bastide = speaker(await town.client("bus"), capsys)
        assert rows(await bastide("relays")) == [
            ["SYSTEM", "OUTBOX", "JOURNAL", "JOURNAL", "BYTES", "RELAYED", "ERROR"]
        ]
        with pytest.raises(NotFound, match="does the town run"):
            await bastide("dead", "stall")
