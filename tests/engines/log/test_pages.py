"""The log's pages, by what they say; tests/browser/test_log.py looks at them."""

import pytest

from bastide.base.html.figures import TEXT_SHOWN_MAX, bytes_text, size_text
from bastide.engines.log.contract import Entry, Record, Topic
from bastide.engines.log.core.batches import COMPRESSION, header_of, made
from bastide.engines.log.core.compression import Compression
from bastide.engines.log.pages import TOGETHER_MAX, TOPICS_SHOWN
from bastide.engines.log.pages.words import entry_seen
from tests.engines.log.doors_kit import DoorsOfLog, doors_of_log

BROWSER = {"accept": "text/html"}
WIRE = "127.0.0.1:9092"


@pytest.fixture
async def doors():
    async with doors_of_log("ids") as found:
        found.town.town.wires["log"] = WIRE
        yield found


async def read(doors: DoorsOfLog, path: str, status: int = 200) -> str:
    reply = await doors.client.get(path, headers=BROWSER)
    assert reply.status_code == status, reply.text
    return reply.text


def has(page: str, *texts: str) -> bool:
    plain = " ".join(page.split())
    return all(text in plain for text in texts)


async def test_an_empty_log_says_how_to_begin_with_its_real_address(doors) -> None:
    page = await read(doors, "/")
    assert has(page, "No topic yet", f"kcat -b {WIRE} -P -t greetings", "No group reads")
    doors.town.town.wires.clear()
    page = await read(doors, "/")
    assert "kcat" not in page, "no wire door is open"
    assert has(page, "bastide log append greetings hello")


async def test_topics_are_shown_with_what_they_hold_page_by_page(doors) -> None:
    names = [f"shop.t{n:03}" for n in range(TOPICS_SHOWN + 1)]
    for name in names[:-1]:
        await doors.made(name, b"x" * 2000)
    page = await read(doors, "/")
    assert all(f">{name}</a>" in page for name in names[:-1])
    assert "Later topics" not in page
    await doors.made(names[-1])
    page = await read(doors, "/")
    assert has(page, "KiB", f"?after={names[-2]}")
    later = await read(doors, f"/?after={names[-2]}")
    assert names[-1] in later
    assert f">{names[0]}</a>" not in later
    assert has(later, "First topics")


@pytest.mark.box("log.tail")
async def test_a_topic_shows_partitions_readers_and_its_newest_records(doors) -> None:
    await doors.made("shop.orders", *(b"order %d" % n for n in range(40)), partitions=2)
    await doors.log.append("shop.orders", [Record(None, key=b"<gone>")], partition=1)
    await doors.joined("billing", "shop.orders")
    await doors.committed("billing", "shop.orders", 10)
    page = await read(doors, "/topics/shop.orders")
    assert has(page, "40 records, billing is at 10", 'x1="25.0"', "for 168 hours")
    assert has(page, "none: the key is gone", "&lt;gone&gt;", "order 39", "Of all partitions")
    assert "order 3<" not in page
    page = await read(doors, "/topics/shop.orders?partition=1")
    assert "order 39" not in page
    assert has(page, "Of partition 1")
    assert has(await read(doors, "/fragments/topics/shop.orders"), "billing is at 10")
    newest = await read(doors, "/fragments/topics/shop.orders/newest?partition=0")
    assert has(newest, "order 39")


async def test_of_many_partitions_the_fullest_is_shown_first(doors) -> None:
    await doors.made("shop.few", partitions=TOGETHER_MAX)
    assert has(await read(doors, "/topics/shop.few"), "Of all partitions", "No record here")
    await doors.made("shop.many", partitions=TOGETHER_MAX + 1)
    await doors.log.append("shop.many", [Record(b"here")], partition=5)
    assert has(await read(doors, "/topics/shop.many"), "Of partition 5", "here")


async def test_what_is_not_there_is_told_in_words(doors) -> None:
    await doors.made("shop.orders")
    assert has(await read(doors, "/topics/nothing", 404), "there is no topic")
    assert has(await read(doors, "/groups/nothing", 404), "there is no group")
    page = await read(doors, "/topics/shop.orders?partition=1", 400)
    assert has(page, "shop.orders has 0 to 0")


async def test_a_topic_of_the_town_says_whose_it_is(doors) -> None:
    await doors.node.broker.create(Topic("ids.minted"))
    assert has(await read(doors, "/"), "of the town")
    page = await read(doors, "/topics/ids.minted")
    assert has(page, "Only the system that it is named after")
    assert "bastide log append" not in page


async def test_a_record_that_nobody_can_read_does_not_take_the_page_with_it(doors) -> None:
    await doors.made("shop.orders")
    partition = await doors.node.broker.partition("shop.orders", 0)
    batch = bytearray(made([Record(b"x" * 100)], now_ms=1))
    batch[22] = batch[22] & ~COMPRESSION | Compression.GZIP  # it is not
    partition.append(bytes(batch), header_of(bytes(batch)))
    await partition.written(0)
    assert has(await read(doors, "/topics/shop.orders"), "They can't be shown")


@pytest.mark.box("log.lag")
async def test_a_group_shows_its_lag_now_of_late_and_by_partition(doors) -> None:
    await doors.made("shop.orders", *(b"%d" % n for n in range(1500)), partitions=2)
    async with doors.log.member("billing/eu", ["shop.orders"]):
        page = await read(doors, "/groups/billing%2Feu")
        assert has(page, "stable", "generation 1", ">1,500<", "this process")
    page = await read(doors, "/groups/billing%2Feu")
    assert has(page, "None now", "It has committed nothing")
    await doors.committed("billing%2Feu", "shop.orders", 300)
    assert "<polyline" not in await read(doors, "/groups/billing%2Feu")
    for _ in range(2):
        await doors.backend.lags.look()
    page = await read(doors, "/fragments/groups/billing%2Feu")
    assert has(page, "<polyline", "at most 1,200", "shop.orders 0", "curl -X PUT")
    assert has(await read(doors, "/"), 'href="/log/groups/billing/eu"', ">1,200<")


def test_keys_and_values_are_shown_as_text_if_they_are_and_cut_if_long() -> None:
    assert bytes_text("né".encode()) == "né"
    assert bytes_text(b"") == ""
    assert bytes_text(b"a\tb\0c") == "a b c"
    assert bytes_text(b"\xff\x00") == "ff 00"
    assert bytes_text(b"\xff" * 33) == " ".join(["ff"] * 32) + "…"
    assert bytes_text(b"x" * TEXT_SHOWN_MAX) == "x" * TEXT_SHOWN_MAX
    assert bytes_text(b"x" * (TEXT_SHOWN_MAX + 1)) == "x" * TEXT_SHOWN_MAX + "…"
    for characters in ("é", "€", "𝄞"):
        for before in range(4):
            text = "x" * before + characters * 1000
            assert bytes_text(text.encode()) == text[:TEXT_SHOWN_MAX] + "…"


def test_a_stamp_that_is_no_time_is_shown_all_the_same() -> None:
    for stamp_ms in (-1, 0, 1_800_000_000_123, (1 << 63) - 1):
        assert entry_seen(Entry("t", 0, 0, stamp_ms, Record(b""))).at


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (102_400, "100 KiB"),
     (1 << 20, "1 MiB"), (5 << 40, "5,120 GiB")],
)  # fmt: skip
def test_sizes_are_shown_to_three_digits(size, text) -> None:
    assert size_text(size) == text
