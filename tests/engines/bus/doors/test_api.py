"""The bus over HTTP, for the operator."""

import jsonschema_rs
import pytest

from bastide.base.tx import PAGE_ITEMS_MAX
from bastide.engines.log.contract import Record
from tests.engines.bus.doors.conftest import doors_of_bus, until


async def get(doors, path, status=200, **query):
    reply = await doors.client.get(path, params=query)
    assert reply.status_code == status, reply.text
    return reply.json()


async def settle(doors, does, offset, status=204, system="stall"):
    reply = await doors.client.post(f"/api/dead/{system}/{offset}/{does}")
    assert reply.status_code == status, reply.text
    return reply.json() if reply.content else None


def kind(problem):
    return problem["type"].removeprefix("urn:bastide:")


# --- what there is ------------------------------------------------------------------------------


async def test_topics_are_told_with_their_events_and_who_hears_them(doors):
    found = await get(doors, "/api/topics")
    assert found["next"] is None
    dead, sales = found["items"]
    assert dead["name"] == "stall.dead"
    assert sales == {
        "name": "stall.sales",
        "system": "stall",
        "partitions": 1,
        "events": ["sold.v1", "returned.v2"],
        "groups": ["stall.books"],
    }


@pytest.mark.box("bus.versions")
async def test_a_topic_tells_the_schema_of_each_version_by_which_an_event_is_judged(doors):
    schemas = (await get(doors, "/api/topics/stall.sales"))["schemas"]
    assert list(schemas) == ["sold.v1", "returned.v2"]
    sold = jsonschema_rs.validator_for(schemas["sold.v1"])
    assert sold.is_valid({"item": "tea"})
    assert not sold.is_valid({"note": "of what?"})
    assert kind(await get(doors, "/api/topics/stall.nothing", 404)) == "not-found"


@pytest.mark.box("bus.lag")
async def test_a_group_tells_what_is_before_it_and_what_it_has_done(doors):
    await doors.stall.sell("tea", "bad milk", "rum")
    await doors.until_dead(1)
    await doors.until_sold(2)
    [group] = (await get(doors, "/api/groups"))["items"]
    assert group == {
        "client": "stall",
        "group": "books",
        "topic": "stall.sales",
        "handled": 2,
        "repeated": 0,
        "dead": 1,
        "lag": 0,
        "error": "",
    }
    doors.stall.is_away = True
    await doors.stall.sell("gin", "ale")

    async def is_told():
        [found] = (await get(doors, "/api/groups"))["items"]
        return found["lag"] == 2 and found["error"] == "the scales are away"

    await until(is_told)


@pytest.mark.box("bus.relay")
async def test_a_relay_tells_what_waits_and_what_has_left(doors):
    [before] = (await get(doors, "/api/relays"))["items"]
    assert (before["waiting"], before["relayed"], before["error"]) == (0, 0, "")
    await doors.stall.sell("tea", "rum")
    await doors.until_sold(2)

    async def is_told():
        [found] = (await get(doors, "/api/relays"))["items"]
        return (found["waiting"], found["relayed"]) == (0, 2)

    await until(is_told)


async def test_lists_come_in_pages():
    async with doors_of_bus("kiosk") as doors:
        for path, name in (("topics", "name"), ("groups", "client"), ("relays", "client")):
            whole = (await get(doors, f"/api/{path}"))["items"]
            assert len(whole) >= 2
            found, query = [], {"limit": 1}
            while True:
                page = await get(doors, f"/api/{path}", **query)
                found += page["items"]
                if page["next"] is None:
                    break
                query["cursor"] = page["next"]
            assert found == whole == sorted(whole, key=lambda one: one[name])
            assert kind(await get(doors, f"/api/{path}", 400, cursor="x")) == "invalid"
            assert (await get(doors, f"/api/{path}", limit=PAGE_ITEMS_MAX))["items"] == whole
            await get(doors, f"/api/{path}", 400, limit=PAGE_ITEMS_MAX + 1)
            await get(doors, f"/api/{path}", 400, limit=0)


# --- dead letters -------------------------------------------------------------------------------


@pytest.mark.box("bus.poison")
async def test_a_dead_letter_tells_why_where_it_lay_and_what_the_log_held(doors):
    await doors.stall.sell("tea", "bad milk")
    await doors.until_dead(1)
    [listed] = (await get(doors, "/api/dead/stall"))["items"]
    assert "value" not in listed
    shown = await get(doors, "/api/dead/stall/0")
    assert shown.items() > listed.items()
    assert shown["reason"] == "Poison: bad milk is hated"
    assert (shown["state"], shown["tries"], shown["base64"]) == ("waiting", 1, False)
    assert (shown["topic"], shown["partition"], shown["lay_at"]) == ("stall.sales", 0, 1)
    assert '"data":{"item":"bad milk"' in shown["value"]


async def test_what_is_no_event_at_all_is_shown_as_the_bytes_that_it_is(doors):
    await doors.stall.sell("tea")
    await doors.until_sold(1)
    await doors.log.append("stall.sales", [Record(b"\xff\x00"), Record(None)])
    await doors.until_dead(2)
    first, second = [await get(doors, f"/api/dead/stall/{n}") for n in (0, 1)]
    assert (first["value"], first["base64"], first["tries"]) == ("/wA=", True, 0)
    assert "tombstone" in second["reason"]
    assert kind(await settle(doors, "replay", 0, 400)) == "event-refused"
    await settle(doors, "discard", 0)
    assert (await get(doors, "/api/dead/stall/0"))["state"] == "discarded"


async def test_dead_letters_come_in_pages_the_newest_first(doors):
    await doors.lay(205)
    found, query, pages = [], {"limit": 100}, 0
    while True:
        page = await get(doors, "/api/dead/stall", **query)
        found += [one["offset"] for one in page["items"]]
        pages += 1
        if page["next"] is None:
            break
        query["before"] = page["next"]
    assert found == list(range(204, -1, -1))
    assert pages == 3
    page = await get(doors, "/api/dead/stall", before=100, limit=100)
    assert (len(page["items"]), page["next"]) == (100, None), "no empty page behind the last one"
    assert (await get(doors, "/api/dead/stall", before=0))["items"] == []
    assert (await get(doors, "/api/dead/stall", before=10**9, limit=1))["items"][0]["offset"] == 204
    for wrong in ({"limit": 0}, {"limit": 101}, {"before": -1}, {"before": 1 << 63}):
        await get(doors, "/api/dead/stall", 400, **wrong)


async def test_what_is_no_letter_among_them_is_passed_over(doors):
    await doors.lay(1)
    await doors.log.append("stall.dead", [Record(b"of somebody else")] * 30)
    await doors.lay(1)
    found, query = [], {"limit": 1}
    while True:
        page = await get(doors, "/api/dead/stall", **query)
        found += [one["offset"] for one in page["items"]]
        if page["next"] is None:
            break
        query["before"] = page["next"]
    assert found == [31, 0]
    assert kind(await get(doors, "/api/dead/stall/5", 404)) == "dead-letter-missing"


@pytest.mark.box("bus.replay")
@pytest.mark.shows("bus.repeat")
async def test_a_replay_has_its_effect_once_however_often_it_is_asked_for(doors):
    await doors.stall.sell("bad milk")
    await doors.until_dead(1)
    doors.stall.hates = False
    assert await settle(doors, "replay", 0) is None
    assert await doors.stall.lines() == ["bad milk"]
    for does in ("replay", "discard"):
        assert kind(await settle(doors, does, 0, 409)) == "dead-letter-settled"
    assert await doors.stall.lines() == ["bad milk"]
    assert (await get(doors, "/api/dead/stall/0"))["state"] == "replayed"


@pytest.mark.box("bus.replay")
async def test_a_replay_that_fails_again_says_why_and_changes_nothing(doors):
    await doors.stall.sell("bad milk")
    await doors.until_dead(1)
    problem = await settle(doors, "replay", 0, 409)
    assert problem["detail"] == (
        "the dead letter 0 failed again, and stays: Poison: bad milk is hated"
    )
    assert await doors.stall.lines() == []
    assert (await get(doors, "/api/dead/stall/0"))["state"] == "waiting"
    doors.stall.is_away = True
    assert (await settle(doors, "replay", 0, 503))["detail"] == "the scales are away"


@pytest.mark.box("bus.replay")
async def test_what_was_discarded_has_no_effect_any_more(doors):
    await doors.stall.sell("bad milk")
    await doors.until_dead(1)
    await settle(doors, "discard", 0)
    doors.stall.hates = False
    assert kind(await settle(doors, "replay", 0, 409)) == "dead-letter-settled"
    assert await doors.stall.lines() == []


async def test_what_is_not_there_is_told(doors):
    for does in ("replay", "discard"):
        assert kind(await settle(doors, does, 0, 404)) == "dead-letter-missing"
        problem = await settle(doors, does, 0, 404, system="nobody")
        assert problem["detail"] == "no system 'nobody' is on the bus; these are: stall"
    await doors.lay(1)
    assert kind(await get(doors, "/api/dead/stall/1", 404)) == "dead-letter-missing"
    await get(doors, "/api/dead/stall/-1", 400)
    await get(doors, "/api/dead/nobody", 404)


# --- who may ------------------------------------------------------------------------------------


async def test_all_of_it_is_the_operators(doors):
    await doors.lay(1)
    stranger = await doors.town.client("bus", address="192.0.2.7")
    for path in ("topics", "topics/stall.sales", "groups", "relays", "dead/stall", "dead/stall/0"):
        assert (await stranger.get(f"/api/{path}")).status_code == 403
    for does in ("replay", "discard"):
        assert (await stranger.post(f"/api/dead/stall/0/{does}")).status_code == 403
    assert (await get(doors, "/api/dead/stall/0"))["state"] == "waiting"


async def test_the_town_describes_these_doors(doors):
    town = await doors.town.client()
    document = (await town.get("/schema")).json()
    paths = document["paths"]
    assert "/bus/api/dead/{system}/{offset}/replay" in paths
    operation = paths["/bus/api/dead/{system}/{offset}/replay"]["post"]
    assert {"204", "404", "409"} <= operation["responses"].keys()
    assert operation["summary"].startswith("Its event has its effect now, once")
