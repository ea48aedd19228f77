"""Two processes on one PostgreSQL and one Redis count and change the same links at once."""

import asyncio

import pytest

from bastide.testing.town import raised
from tests.apps.shortener.conftest import Visitor, bearer, clean_engines, settle

pytestmark = [pytest.mark.engine("postgres"), pytest.mark.engine("redis")]
ROUNDS = 10


@pytest.fixture
async def both():
    """Visitors of two towns that share all but their journals."""
    async with (
        clean_engines() as environ,
        raised("shortener", environ=environ) as one,
        raised("shortener", environ=environ) as two,
    ):
        yield [Visitor(await town.client("shortener"), town) for town in (one, two)]


@pytest.mark.box("shortener.exact")
async def test_clicks_of_one_link_are_counted_by_both(both):
    made = await both[0].made()
    code, key = made["short_code"], made["manage_key"]
    for _ in range(ROUNDS):
        for visitor in both:
            await visitor.follow(code)
    for visitor in both:
        await settle(visitor.town)
    stats = [await visitor.stats(code, key) for visitor in both]
    assert [s["total_clicks"] for s in stats] == [2 * ROUNDS] * 2
    assert [s["days"][-1]["clicks"] for s in stats] == [2 * ROUNDS] * 2


@pytest.mark.box("shortener.edit")
async def test_one_link_is_changed_by_both_at_once(both):
    one, two = both
    made = await one.made()
    code, key = made["short_code"], made["manage_key"]
    for n in range(ROUNDS):
        replies = await asyncio.gather(
            *(
                v.change(code, key, add_tags=[f"{place}"], title=f"{n}")
                for place, v in enumerate(both)
            )
        )
        assert [reply.status_code for reply in replies] == [200, 200]
    link = (await two.client.get(f"/api/{code}", headers=bearer(key))).json()
    assert (sorted(link["tags"]), link["title"]) == (["0", "1"], f"{ROUNDS - 1}")


@pytest.mark.box("shortener.visits")
async def test_a_limit_of_visits_is_one_for_both(both):
    made = await both[0].made(visits_max=10)
    replies = await asyncio.gather(
        *(visitor.follow(made["short_code"]) for visitor in both for _ in range(10))
    )
    assert sorted(reply.status_code for reply in replies) == [302] * 10 + [410] * 10


@pytest.mark.box("shortener.codes")
async def test_one_code_is_given_out_once(both):
    replies = await asyncio.gather(
        *(v.shorten(f"https://{n}.example", custom_code="wanted") for n, v in enumerate(both * 5))
    )
    assert sorted(reply.status_code for reply in replies) == [201] + [409] * 9
