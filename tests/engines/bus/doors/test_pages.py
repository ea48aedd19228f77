"""The bus's pages, by what they say; tests/browser/test_bus.py looks at them."""

import pytest

from bastide.base.html.figures import size_text
from bastide.engines.bus.pages import LETTERS_SHOWN
from bastide.engines.bus.pages.words import VALUE_SHOWN_MAX
from bastide.engines.bus.service.hub import DEAD_COUNTED_MAX
from bastide.engines.log.contract import Record
from bastide.testing.town import raised
from tests.engines.bus.doors.conftest import until

BROWSER = {"accept": "text/html"}


async def read(client, path, status=200):
    reply = await client.get(path, headers=BROWSER)
    assert reply.status_code == status, reply.text
    return reply.text


async def post(doors, offset, action, status=200, client=None):
    form = {"offset": offset, "action": action}
    asked = client or doors.client
    reply = await asked.post("/dead/stall", data=form, headers=BROWSER)
    assert reply.status_code == status, reply.text
    return reply.text


def has(page, *texts):
    plain = " ".join(page.split())
    return all(text in plain for text in texts)


async def test_an_empty_bus_says_how_to_begin():
    async with raised("bus") as town:
        page = await read(await town.client("bus"), "/")
    assert has(page, "No system is on the bus yet", "No group hears", "No system publishes")


@pytest.mark.box("bus.pages")
async def test_relays_groups_and_topics_are_shown(doors):
    await doors.stall.sell("tea", "bad milk")
    await doors.until_dead(1)
    page = await read(doors.client, "/")
    assert has(page, "stall.books", 'href="/bus/topics/stall.sales"', "<code>sold.v1</code>")
    assert has(page, 'aria-label="Dead letters of stall">1</a>')
    assert "stall.dead</a>" not in page, "that is behind its own link"
    live = await read(doors.client, "/fragments/bus")
    assert has(live, 'hx-trigger="every 2s"', "stall.books", "well")
    assert "<html" not in live


@pytest.mark.box("bus.pages")
async def test_what_is_wrong_is_told_in_words(doors):
    doors.stall.is_away = True
    await doors.stall.sell("tea")

    async def is_told():
        page = await read(doors.client, "/fragments/bus")
        return has(page, "tries again", "the scales are away")

    await until(is_told)


async def test_many_dead_letters_are_counted_up_to_a_limit(doors):
    await doors.lay(DEAD_COUNTED_MAX - 1)
    assert has(await read(doors.client, "/"), f">{DEAD_COUNTED_MAX - 1}</a>")
    await doors.lay(1)
    assert has(await read(doors.client, "/"), f">{DEAD_COUNTED_MAX} or more</a>")


@pytest.mark.box("bus.versions")
async def test_a_topic_shows_the_schema_of_each_version(doors):
    page = await read(doors.client, "/topics/stall.sales")
    assert has(page, "sold.v1", "returned.v2", "Something was sold.", "stall.books", "&#34;item")
    assert has(page, '/log/topics/stall.sales">its newest records</a>')
    assert has(await read(doors.client, "/topics/stall.nothing", 404), "no system of this town")


@pytest.mark.box("bus.pages")
async def test_a_dead_letter_is_shown_with_its_reason_its_place_and_its_event(doors):
    await doors.stall.sell("tea", "bad <milk>")
    await doors.until_dead(1)
    for path in ("/dead/stall", "/dead/stall/0"):
        page = await read(doors.client, path)
        assert has(page, "Poison: bad &lt;milk&gt; is hated", "books, after one try", "sold.v1")
        assert has(page, '/log/topics/stall.sales?partition=0">stall.sales 0</a> at 1')
        assert has(page, "&#34;item&#34;: &#34;bad &lt;milk&gt;&#34;", "Replay 0", "Discard 0")


async def test_what_is_no_event_is_shown_as_it_is(doors):
    await doors.stall.sell("tea")
    await doors.until_sold(1)
    await doors.log.append("stall.sales", [Record(b"\xff\x00"), Record(b"not <json>")])
    await doors.until_dead(2)
    page = await read(doors.client, "/dead/stall")
    assert has(page, "base64:/wA=", "not &lt;json&gt;", "which could not read it", "none that can")


async def test_a_long_event_has_a_page_of_its_own_and_is_cut_there(doors):
    await doors.stall.sell("bad a", note="y" * VALUE_SHOWN_MAX)
    await doors.until_dead(1)
    page = await read(doors.client, "/dead/stall")
    assert "yyyy" not in page
    page = await read(doors.client, "/dead/stall/0")
    assert has(page, "yyyy", "bastide bus dead stall --show 0")


async def test_dead_letters_are_shown_page_by_page(doors):
    assert has(await read(doors.client, "/dead/stall"), "No dead letter")
    await doors.lay(LETTERS_SHOWN)
    page = await read(doors.client, "/dead/stall")
    assert page.count('class="card stack"') == LETTERS_SHOWN
    assert "Older ones" not in page
    await doors.lay(1)
    page = await read(doors.client, "/dead/stall")
    assert has(page, 'href="/bus/dead/stall?before=1">Older ones</a>')
    page = await read(doors.client, "/dead/stall?before=1")
    assert page.count('class="card stack"') == 1
    assert has(page, "The newest")
    assert has(await read(doors.client, "/dead/stall?before=0"), "None before 0")


@pytest.mark.box("bus.replay")
async def test_a_form_replays_or_discards_and_the_outcome_is_shown(doors):
    await doors.stall.sell("bad a", "bad b")
    await doors.until_dead(2)
    page = await post(doors, 0, "replay", 409)
    assert has(
        page, 'role="alert"', "Nothing was changed", "failed again, and stays: Poison: bad a"
    )
    doors.stall.hates = False
    page = await post(doors, 0, "replay")
    assert has(page, 'role="status"', "0 was replayed", ">replayed<")
    assert await doors.stall.lines() == ["bad a"]
    assert has(await post(doors, 0, "replay", 409), "was replayed before")
    assert has(await post(doors, 1, "discard"), "1 was discarded", ">discarded<")
    assert "Discard 1" not in await read(doors.client, "/dead/stall/1")
    await post(doors, 1, "bury", 400)
    await post(doors, 9, "discard", 404)


async def test_what_is_not_there_is_told_in_words(doors):
    assert has(await read(doors.client, "/dead/nobody", 404), "is on the bus; these are: stall")
    assert has(await read(doors.client, "/dead/stall/0", 404), "no dead letter 0")


async def test_the_pages_are_the_operators(doors):
    await doors.lay(1)
    stranger = await doors.town.client("bus", address="192.0.2.7")
    for path in ("/", "/fragments/bus", "/topics/stall.sales", "/dead/stall", "/dead/stall/0"):
        await read(stranger, path, 403)
    await post(doors, 0, "discard", 403, client=stranger)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (5 << 40, "5,120 GiB")],
)
def test_sizes_are_shown_to_three_digits(size, text):
    assert size_text(size) == text
