"""What becomes of links is told on the bus, once, and in order."""

import msgspec
import pytest
from sqlalchemy import func, select, table

from bastide.apps.shortener.contract import CLICKS, EXPIRED_S, LINKS
from bastide.apps.shortener.service.teller import ANNOUNCED_MAX
from bastide.base.faults import armed, failing
from bastide.base.instants import text_of
from bastide.base.tx import Statement
from tests.apps.shortener.conftest import LONG, bus_of, settle
from tests.base.told import at_rest

DAY_S = 24 * 3600
LEFT = Statement(select(func.count()).select_from(table("bus_outbox")), int)
pytestmark = pytest.mark.box("shortener.events")


async def told(town, code=None):
    """Kind and data of each event of the link, as the log has them."""
    await settle(town)
    log, found, offset = bus_of(town)._log, [], 0
    while entries := await log.read(LINKS.name, 0, offset):
        for entry in entries:
            event = msgspec.json.decode(entry.record.value)
            kind = event["type"].removeprefix(f"{LINKS.name}.")
            assert entry.record.key == event["data"]["code"].encode()
            if code in (None, event["data"]["code"]):
                found.append((kind, event["data"]))
        offset = entries[-1].offset + 1
    return found


async def kinds(town, code):
    return [kind for kind, _ in await told(town, code)]


async def test_a_link_is_told_of_from_its_making_to_its_end(visitor, town):
    made = await visitor.made(expires_days=1)
    code, key = made["short_code"], made["manage_key"]
    await visitor.change(code, key, title="t")
    await visitor.change(code, key, disabled=True)
    await visitor.change(code, key, disabled=False)
    await visitor.delete(code, key)
    await visitor.delete(code, key)  # it is gone already
    found = await told(town, code)
    assert [kind for kind, _ in found] == [
        "created.v1",
        "changed.v1",
        *("changed.v1", "disabled.v1"),
        "changed.v1",
        "deleted.v1",
    ]
    _, created = found[0]
    assert (created["target"], created["expires_at_ms"] - created["at_ms"]) == (LONG, DAY_S * 1000)
    assert found[3][1]["by"] == "owner"
    assert {data["link_id"] for _, data in found} == {created["link_id"]}


async def test_what_was_refused_or_was_there_before_is_not_told(visitor, town):
    made = await visitor.made()
    code, key = made["short_code"], made["manage_key"]
    assert (await visitor.made(key=key))["short_code"] == code
    assert (await visitor.change(code, "wrong", disabled=True)).status_code == 403
    assert (await visitor.shorten("nonsense")).status_code == 400
    assert (await visitor.shorten(custom_code=code)).status_code == 409
    assert await kinds(town, code) == ["created.v1"]
    assert len(await told(town)) == 1


async def test_an_import_tells_of_each_new_link(visitor, town):
    reply = await visitor.import_(*(f"https://{n % 30}.example/" for n in range(60)))
    codes = list(dict.fromkeys(link["short_code"] for link in reply.json()["links"]))
    assert [data["code"] for _, data in await told(town)] == codes
    assert len(codes) == 30


async def test_the_operators_block_is_told_as_his(visitor, town):
    code = (await visitor.made())["short_code"]
    await visitor.client.put(f"/api/blocked/{code}")
    await visitor.client.delete(f"/api/blocked/{code}")
    found = await told(town, code)
    assert [kind for kind, _ in found[1:]] == ["changed.v1", "disabled.v1", "changed.v1"]
    assert found[2][1]["by"] == "operator"


async def test_an_end_is_told_once_and_again_if_there_is_another(visitor, town):
    upkeep = town.served("shortener").upkeep
    await upkeep.announce_ended()  # begins
    made = await visitor.made(expires_days=1)
    code, key = made["short_code"], made["manage_key"]
    for _ in range(2):
        await upkeep.announce_ended()
    assert await kinds(town, code) == ["created.v1"]
    town.clock.advance(DAY_S)
    for _ in range(3):
        await upkeep.announce_ended()
    assert await kinds(town, code) == ["created.v1", "expired.v1"]
    await visitor.change(code, key, expires_days=1)
    town.clock.advance(DAY_S + 1)
    for _ in range(3):
        await upkeep.announce_ended()
    assert (await kinds(town, code))[2:] == ["changed.v1", "expired.v1"]


@pytest.mark.parametrize("announced", [False, True])
async def test_an_end_that_is_set_into_the_past_is_told_once(announced, visitor, town):
    """Before or behind the place where ends were told."""
    upkeep, now_ms = town.served("shortener").upkeep, town.clock.now_ms()
    await upkeep.announce_ended()
    other = await visitor.made("https://other.example", expires_days=1)
    made = await visitor.made()
    town.clock.advance(2 * DAY_S)
    if announced:
        await upkeep.announce_ended()
        assert (await kinds(town, other["short_code"]))[-1] == "expired.v1"
    ended_ms = now_ms + DAY_S * 1000 - 1
    changed = await visitor.change(
        made["short_code"], made["manage_key"], expires_at=text_of(ended_ms)
    )
    assert changed.is_success, changed.text
    for _ in range(3):
        await upkeep.announce_ended()
    assert (await kinds(town, made["short_code"]))[1:] == ["changed.v1", "expired.v1"]


@pytest.mark.parametrize("more", [0, 1])
async def test_many_that_end_in_one_millisecond_are_told_each_once(more, visitor, town):
    upkeep = town.served("shortener").upkeep
    await upkeep.announce_ended()
    links = [f"https://{n}.example/" for n in range(ANNOUNCED_MAX + more)]
    await visitor.import_(*links, expires_days=1)
    town.clock.advance(DAY_S)
    with armed("bus.published", failing(OSError("lost"))), pytest.raises(OSError, match="lost"):
        await upkeep.announce_ended()
    for _ in range(2):
        await upkeep.announce_ended()
    ended = [data["code"] for kind, data in await told(town) if kind == "expired.v1"]
    assert len(ended) == len(set(ended)) == ANNOUNCED_MAX + more


async def test_of_a_deleted_links_end_nothing_is_told(visitor, town):
    upkeep = town.served("shortener").upkeep
    await upkeep.announce_ended()
    made = await visitor.made(expires_days=1)
    await visitor.delete(made["short_code"], made["manage_key"])
    town.clock.advance(DAY_S + EXPIRED_S)
    await upkeep.announce_ended()
    assert (await kinds(town, made["short_code"]))[-1] == "deleted.v1"


async def test_what_ended_before_anybody_was_told_is_left_alone(visitor, town):
    """A shortener of many years that learns to tell of ends does not begin with all of them."""
    await at_rest(town)
    made = await visitor.made(expires_days=1)
    town.clock.advance(2 * DAY_S)
    await town.served("shortener").upkeep.announce_ended()
    rows = await bus_of(town)._db.one(LEFT)
    assert rows == 1, f"that {made['short_code']} was made"


async def test_a_click_is_told_with_what_it_told(visitor, town):
    made = await visitor.made()
    reply = await visitor.follow(made["short_code"], agent="Mozilla/5.0 (X11; Linux) Firefox/140.0")
    await settle(town)
    [entry] = await bus_of(town)._log.read(CLICKS.name, 0, 0)
    event = msgspec.json.decode(entry.record.value)
    assert event["type"] == "shortener.clicks.clicked.v1"
    assert event["data"]["request_id"] == reply.headers["x-request-id"]
    assert (event["data"]["browser"], event["data"]["bot"]) == ("firefox", False)
    assert not {"address", "user_agent"} & set(event["data"])
