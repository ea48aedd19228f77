"""The log over HTTP, for the operator."""

import asyncio
import base64

import msgspec
import pytest

from bastide.base.tx import PAGE_ITEMS_MAX
from bastide.engines.log.api import APPEND_BYTES_MAX
from bastide.engines.log.api.topics import tail_topic
from bastide.engines.log.contract import (
    APPEND_RECORDS_MAX,
    READ_BYTES_MAX,
    RECORD_BYTES_MAX,
    Place,
    Record,
    Topic,
)
from bastide.engines.log.core.assigned import assigned
from bastide.engines.log.core.batches import header_of, made, marker
from bastide.engines.log.service.lags import POINTS_MAX
from tests.engines.log.consumer_kit import encode_assignment
from tests.engines.log.doors_kit import DoorsOfLog, doors_of_log


@pytest.fixture
async def doors():
    async with doors_of_log() as found:
        yield found


async def get(doors: DoorsOfLog, path: str, status: int = 200, **query: object):
    reply = await doors.client.get(path, params=query)
    assert reply.status_code == status, reply.text
    return reply.json()


async def append(doors: DoorsOfLog, topic: str, *records, status: int = 201, **more):
    body = {"records": list(records), **more}
    reply = await doors.client.post(f"/api/topics/{topic}/records", json=body)
    assert reply.status_code == status, reply.text
    return reply.json()


def kind(problem) -> str:
    return problem["type"].removeprefix("urn:bastide:")


# --- topics -------------------------------------------------------------------------------------


async def test_topics_are_told_with_the_ends_and_bytes_of_their_partitions(doors) -> None:
    await doors.made("shop.orders", b"one", b"two", partitions=2)
    [topic] = (await get(doors, "/api/topics"))["items"]
    first, second = topic.pop("partitions")
    size = first.pop("bytes")
    assert size > 0
    assert first == {"partition": 0, "first": 0, "next": 2}
    assert second == {"partition": 1, "first": 0, "next": 0, "bytes": 0}
    assert topic == {
        "name": "shop.orders",
        "of_the_town": False,
        "kept_ms": 7 * 24 * 3600 * 1000,
        "kept_bytes": None,
        "bytes": size,
    }
    assert (await get(doors, "/api/topics/shop.orders"))["bytes"] == size
    assert kind(await get(doors, "/api/topics/nothing", 404)) == "topic-missing"


async def test_topics_and_groups_come_in_pages(doors) -> None:
    names = [f"shop.{n}" for n in range(5)]
    for name in names:
        await doors.made(name)
        await doors.joined(f"group-{name}", name)
    for path in ("/api/topics", "/api/groups"):
        found, query = [], {"limit": 2}
        while True:
            page = await get(doors, path, **query)
            assert 1 <= len(page["items"]) <= 2
            found += [one["name"].removeprefix("group-") for one in page["items"]]
            if page["next"] is None:
                break
            query["cursor"] = page["next"]
        assert found == names
        await get(doors, path, limit=PAGE_ITEMS_MAX)
        await get(doors, path, 400, limit=PAGE_ITEMS_MAX + 1)
        await get(doors, path, 400, limit=0)
        await get(doors, path, 400, cursor="no cursor of ours")


# --- appending ----------------------------------------------------------------------------------


async def test_records_are_appended_as_text_or_bytes_and_read_again(doors) -> None:
    told = await append(
        doors,
        "notes",
        {"value": "né", "key": "k", "headers": [["from", "me"]]},
        {"value_base64": "//8A", "key_base64": "/w=="},
        {"key": "k"},
    )
    assert told == {"places": [{"partition": 0, "offset": n} for n in range(3)]}
    found = await get(doors, "/api/topics/notes/records")
    stamp_ms = doors.town.clock.now_ms()
    assert found == {
        "items": [
            {
                "partition": 0,
                "offset": 0,
                "stamp_ms": stamp_ms,
                "key": "k",
                "value": "né",
                "headers": [{"name": "from", "value": "me"}],
            },
            {
                "partition": 0,
                "offset": 1,
                "stamp_ms": stamp_ms,
                "key_base64": "/w==",
                "value_base64": "//8A",
            },
            {"partition": 0, "offset": 2, "stamp_ms": stamp_ms, "key": "k"},
        ],
        "next": 3,
        "first": 0,
        "end": 3,
    }


@pytest.mark.box("log.keyed")
async def test_a_key_goes_where_kafkas_clients_put_it_and_a_partition_may_be_named(doors) -> None:
    await doors.made("shop.orders", partitions=8)
    [place] = await doors.log.append("shop.orders", [Record(b"", key=b"customer")])
    keyed = await append(doors, "shop.orders", {"value": "", "key": "customer"})
    assert keyed["places"] == [{"partition": place.partition, "offset": place.offset + 1}]
    named = await append(doors, "shop.orders", {"value": "", "key": "customer"}, partition=7)
    assert named["places"][0]["partition"] == 7
    together = await append(doors, "shop.orders", *({"value": ""} for _ in range(20)))
    assert len({p["partition"] for p in together["places"]}) == 1
    refused = await append(doors, "shop.orders", {"value": ""}, partition=8, status=400)
    assert kind(refused) == "partition-refused"


@pytest.mark.box("log.of-the-town")
async def test_nobody_appends_to_the_topics_of_the_towns_systems() -> None:
    async with doors_of_log("ids") as doors:
        for topic in ("ids.minted", "ids", "log.x"):
            refused = await append(doors, topic, {"value": ""}, status=403)
            assert kind(refused) == "topic-of-another"
        assert await get(doors, "/api/topics") == {"items": [], "next": None}
        await append(doors, "idsx.minted", {"value": ""})
        await doors.node.broker.create(Topic("ids.minted"))
        assert (await get(doors, "/api/topics/ids.minted"))["of_the_town"]


@pytest.mark.parametrize(
    ("topic", "records", "status", "error"),
    [
        ("notes", [], 413, "record-too-large"),
        ("bad name", [{"value": ""}], 400, "topic-refused"),
        ("n" * 250, [{"value": ""}], 400, "topic-refused"),
        ("notes", [{"value": "", "value_base64": ""}], 400, "invalid"),
        ("notes", [{"value_base64": "#"}], 400, "invalid"),
        ("notes", [{"valeu": ""}], 400, "invalid"),
    ],
)
async def test_what_can_not_be_appended_is_refused(doors, topic, records, status, error) -> None:
    assert kind(await append(doors, topic, *records, status=status)) == error
    assert await get(doors, "/api/topics") == {"items": [], "next": None}


async def test_records_are_taken_up_to_their_limits(doors) -> None:
    large = "x" * RECORD_BYTES_MAX
    await append(doors, "notes", {"value": large})
    refused = await append(doors, "notes", {"value": large, "key": "k"}, status=413)
    assert kind(refused) == "record-too-large"
    many = [{"value": ""}] * APPEND_RECORDS_MAX
    await append(doors, "notes", *many)
    refused = await append(doors, "notes", *many, {"value": ""}, status=413)
    assert kind(refused) == "record-too-large"
    body = b" " * (APPEND_BYTES_MAX - 14) + b'{"records":[]}'
    headers = {"content-type": "application/json"}
    for extra, told in ((b"", "record-too-large"), (b" ", "too-large")):
        reply = await doors.client.post(
            "/api/topics/notes/records", content=extra + body, headers=headers
        )
        assert (reply.status_code, kind(reply.json())) == (413, told)


# --- reading ------------------------------------------------------------------------------------


async def test_a_partition_is_read_from_an_offset_on_or_its_last(doors) -> None:
    await doors.made("shop.orders", *(b"%d" % n for n in range(10)), partitions=2)

    async def offsets(**query):
        found = await get(doors, "/api/topics/shop.orders/records", **query)
        return [one["offset"] for one in found["items"]], found["next"]

    assert await offsets() == ([*range(10)], 10)
    assert await offsets(offset=4, limit=3) == ([4, 5, 6], 7)
    assert await offsets(offset=10) == ([], 10)
    assert await offsets(last=2) == ([8, 9], 10)
    assert await offsets(last=99, limit=1) == ([0], 1)
    assert await offsets(last=0) == ([], 10)
    assert await offsets(partition=1) == ([], 0)


async def test_what_can_not_be_read_is_refused_with_where_it_could_be(doors) -> None:
    await doors.made("shop.orders", b"a", b"b", b"c")
    path = "/api/topics/shop.orders/records"
    ahead = await get(doors, path, 404, offset=4)
    assert (kind(ahead), ahead["facts"]) == ("offset-ahead", {"next": 3})
    await (await doors.node.broker.partition("shop.orders", 0)).delete_below(2)
    gone = await get(doors, path, 410, offset=1)
    assert (kind(gone), gone["facts"]) == ("offset-gone", {"first": 2})
    assert [one["value"] for one in (await get(doors, path))["items"]] == ["c"]
    assert kind(await get(doors, path, 400, partition=1)) == "partition-refused"
    assert kind(await get(doors, "/api/topics/x/records", 404)) == "topic-missing"
    await get(doors, path, 400, offset=0, last=1)
    await get(doors, path, 400, last=-1)


async def test_a_page_of_large_records_ends_in_time(doors) -> None:
    count = READ_BYTES_MAX // RECORD_BYTES_MAX + 1
    await doors.made("shop.orders")
    for _ in range(count):
        await doors.log.append("shop.orders", [Record(b"x" * RECORD_BYTES_MAX)])
    found = await get(doors, "/api/topics/shop.orders/records")
    assert (len(found["items"]), found["next"]) == (count - 1, count - 1)
    rest = await get(doors, "/api/topics/shop.orders/records", offset=found["next"])
    assert len(rest["items"]) == 1


# --- tailing ------------------------------------------------------------------------------------


async def tailed(doors: DoorsOfLog, topic: str, **query):
    stream = await tail_topic(doors.backend, topic, **query)
    assert stream.endless
    assert stream.headers["content-type"] == "text/event-stream"
    return stream.pieces


def event(piece: bytes):
    assert piece.startswith(b"data: ")
    return msgspec.json.decode(piece[6:])


@pytest.mark.box("log.tail")
async def test_a_topic_is_tailed_live_on_all_its_partitions(doors) -> None:
    await doors.made("shop.orders", b"before", partitions=3)
    pieces = await tailed(doors, "shop.orders")
    coming = asyncio.ensure_future(anext(pieces))
    await asyncio.sleep(0)
    for partition in (2, 0):
        await append(doors, "shop.orders", {"value": f"in {partition}"}, partition=partition)
        told = event(await coming)
        assert (told["partition"], told["value"]) == (partition, f"in {partition}")
        coming = asyncio.ensure_future(anext(pieces))
        await asyncio.sleep(0)
    coming.cancel()
    await asyncio.gather(coming, return_exceptions=True)
    await pieces.aclose()


@pytest.mark.parametrize(("start", "first"), [("first", 0), ("2", 2)])
async def test_a_tail_begins_where_it_is_told(doors, start, first) -> None:
    await doors.made("shop.orders", b"a", b"b", b"c")
    pieces = await tailed(doors, "shop.orders", partition=0, start=start)
    assert event(await anext(pieces))["offset"] == first
    await pieces.aclose()


async def test_a_tail_that_can_not_begin_is_refused(doors) -> None:
    await doors.made("shop.orders", b"a", partitions=2)
    path = "/api/topics/shop.orders/tail"
    assert kind(await get(doors, path, 400, start="1")) == "partition-refused"
    assert kind(await get(doors, path, 400, partition=2)) == "partition-refused"
    assert kind(await get(doors, path, 404, partition=0, start="2")) == "offset-ahead"
    assert kind(await get(doors, path, 400, start="middle")) == "invalid"
    assert kind(await get(doors, "/api/topics/x/tail", 404)) == "topic-missing"


# --- what transactions leave --------------------------------------------------------------------


@pytest.mark.box("log.transactions")
async def test_what_was_aborted_is_passed_over_by_all_who_read(doors) -> None:
    """Also where nothing but it is found in one look."""
    await doors.made("shop.orders", b"first")
    partition = await doors.node.broker.partition("shop.orders", 0)
    for _ in range(3):
        batch = made(
            [Record(b"x" * 900_000)], now_ms=1, producer_id=7, producer_epoch=0, base_sequence=0,
            transactional=True,
        )  # fmt: skip
        partition.append(batch, header_of(batch))
        end = marker(commit=False, producer_id=7, producer_epoch=0, coordinator_epoch=0, now_ms=1)
        await partition.written(partition.append_marker(end))
    async with doors.log.member("readers", ["shop.orders"]) as member:
        assert [e.record.value for e in await member.poll(wait_s=0)] == [b"first"]
        await doors.log.append("shop.orders", [Record(b"last")])
        assert [e.record.value for e in await member.poll(wait_s=0)] == [b"last"]
    found = await get(doors, "/api/topics/shop.orders/records")
    assert [one["value"] for one in found["items"]] == ["first", "last"]
    [entry] = await doors.log.read("shop.orders", 0, 1)
    assert entry.record.value == b"last"


# --- groups -------------------------------------------------------------------------------------


@pytest.mark.box("log.lag")
async def test_a_group_is_told_with_its_members_generation_and_lag(doors) -> None:
    await doors.made("shop.orders", *(b"%d" % n for n in range(10)), partitions=2)
    async with doors.log.member("billing", ["shop.orders"]) as member:
        [listed] = (await get(doors, "/api/groups"))["items"]
        assert listed == {
            "name": "billing", "state": "stable", "generation": 1, "members": 1, "lag": 10
        }  # fmt: skip
        entries = await member.poll(entries_max=4, wait_s=0)
        await member.commit([msgspec.structs.replace(place_of(entries[-1]), offset=4)])
        told = await get(doors, "/api/groups/billing")
        [one] = told.pop("members")
        assert one["partitions"] == [["shop.orders", 0], ["shop.orders", 1]]
        assert told == {
            "name": "billing",
            "state": "stable",
            "generation": 1,
            "lag": 6,
            "offsets": [
                {"topic": "shop.orders", "partition": 0, "committed": 4, "end": 10, "lag": 6},
                {"topic": "shop.orders", "partition": 1, "committed": None, "end": 0, "lag": 0},
            ],
        }
    told = await get(doors, "/api/groups/billing")
    assert (told["state"], told["members"], told["lag"]) == ("empty", [], 6)
    assert kind(await get(doors, "/api/groups/nothing", 404)) == "group-missing"


def place_of(entry):
    return Place(entry.topic, entry.partition, entry.offset)


async def put(doors: DoorsOfLog, group: str, status: int = 200, **body):
    reply = await doors.client.put(f"/api/offsets/{group}", json=body)
    assert reply.status_code == status, reply.text
    return reply.json()


@pytest.mark.box("log.own-offsets")
async def test_an_empty_group_is_sent_to_where_the_operator_says(doors) -> None:
    await doors.made("shop.orders", *(b"%d" % n for n in range(10)), partitions=2)
    await doors.joined("billing", "shop.orders")

    async def lags(**body):
        told = await put(doors, "billing", topic="shop.orders", **body)
        return [one["committed"] for one in told["offsets"]]

    assert await lags(to="end") == [10, 0]
    assert await lags(to="first") == [0, 0]
    assert await lags(to=3, partition=0) == [3, 0]
    assert await lags(to="7", partition=0) == [7, 0]
    async with doors.log.member("billing", ["shop.orders"]) as member:
        assert (await member.poll(wait_s=0))[0].offset == 7


async def test_a_group_that_reads_is_not_moved(doors) -> None:
    await doors.made("shop.orders", b"a")
    async with doors.log.member("billing", ["shop.orders"]):
        assert kind(await put(doors, "billing", 409, topic="shop.orders", to=0)) == "group-in-use"
        for path in ("/api/offsets/billing?topic=shop.orders", "/api/groups/billing"):
            reply = await doors.client.delete(path)
            assert (reply.status_code, kind(reply.json())) == (409, "group-in-use")


async def test_what_can_not_be_reset_is_refused_and_nothing_is_changed(doors) -> None:
    await doors.made("shop.orders", b"a", b"b", partitions=2)
    await doors.joined("billing", "shop.orders")
    for status, error, group, body in (
        (404, "group-missing", "nothing", {"topic": "shop.orders", "to": "end"}),
        (404, "topic-missing", "billing", {"topic": "x", "to": "end"}),
        (400, "partition-refused", "billing", {"topic": "shop.orders", "to": 1}),
        (400, "partition-refused", "billing", {"topic": "shop.orders", "to": 1, "partition": 2}),
        (404, "offset-ahead", "billing", {"topic": "shop.orders", "to": 3, "partition": 0}),
        (400, "invalid", "billing", {"topic": "shop.orders", "to": "middle"}),
    ):
        assert kind(await put(doors, group, status, **body)) == error
    assert (await get(doors, "/api/groups/billing"))["offsets"] == []


async def test_offsets_are_forgotten_in_one_partition_in_a_topic_or_with_the_group(doors) -> None:
    await doors.made("shop.orders", b"a", partitions=3)
    await doors.joined("a/b c", "shop.orders")  # any text is a group's name
    path = "/api/offsets/a%2Fb%20c"
    await put(doors, "a%2Fb%20c", topic="shop.orders", to="first")

    async def known():
        told = await get(doors, "/api/groups/a%2Fb%20c")
        return [one["partition"] for one in told["offsets"]]

    assert await known() == [0, 1, 2]
    assert (await doors.client.delete(f"{path}?topic=shop.orders&partition=1")).status_code == 204
    assert await known() == [0, 2]
    assert (await doors.client.delete(f"{path}?topic=shop.orders")).status_code == 204
    assert await known() == []
    missing = await doors.client.delete("/api/offsets/nothing?topic=shop.orders")
    assert kind(missing.json()) == "group-missing"
    for _ in range(2):
        assert (await doors.client.delete("/api/groups/a%2Fb%20c")).status_code == 204
    await get(doors, "/api/groups/a%2Fb%20c", 404)


@pytest.mark.box("log.lag")
async def test_lag_is_looked_at_of_late_and_no_longer(doors) -> None:
    await doors.made("shop.orders", b"a", b"b", b"c")
    await doors.joined("billing", "shop.orders")
    await put(doors, "billing", topic="shop.orders", to=1)
    lags = doors.backend.lags
    known = len(lags.line("billing"))
    await lags.look()
    await doors.log.append("shop.orders", [Record(b"d")])
    await lags.look()
    assert list(lags.line("billing"))[known:] == [2, 3]
    for _ in range(POINTS_MAX + 1):
        await lags.look()
    assert lags.line("billing") == [3] * POINTS_MAX
    await doors.client.delete("/api/groups/billing")
    await lags.look()
    assert lags.line("billing") == []


def test_what_a_consumer_was_assigned_is_read_as_its_clients_write_it() -> None:
    given = encode_assignment(
        {
            "assigned_partitions": [
                {"topic": "b", "partitions": [1, 0]},
                {"topic": "a", "partitions": [2]},
            ],
            "user_data": b"x",
        }
    )
    assert assigned(given) == (("a", 2), ("b", 0), ("b", 1))
    assert all(assigned(given[:n]) == () for n in range(21))
    assert assigned(b"\xff" * 40) == ()


# --- who may ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/api/topics", "/api/groups", "/api/topics/a/tail", "/", "/topics/a"]
)
async def test_the_doors_are_the_operators_alone(doors, path) -> None:
    stranger = await doors.town.client("log", address="192.0.2.7")
    assert (await stranger.get(path)).status_code == 403


async def test_values_that_are_no_text_are_told_in_base64(doors) -> None:
    await doors.made("shop.orders", bytes(range(256)))
    [one] = (await get(doors, "/api/topics/shop.orders/records"))["items"]
    assert "value" not in one
    assert base64.b64decode(one["value_base64"]) == bytes(range(256))
