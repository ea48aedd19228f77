"""Hot links come from the cache, which never answers with what was taken back."""

import asyncio
import errno

import httpx
import pytest

from bastide.apps.shortener.bench import running_town
from bastide.apps.shortener.manifest import shared_alike
from bastide.base.faults import armed, failing
from bastide.base.metrics import exposition
from bastide.engines.log.contract import LogAway
from tests.apps.shortener.conftest import LONG, bearer, clean_engines, settle

DAY_S = 24 * 3600


def reads(town):
    """Calls of the shortener to its database so far."""
    text = exposition(town.town.runtime.metrics)
    lines = [line for line in text.splitlines() if line.startswith("bastide_calls_total")]
    ours = [line for line in lines if 'client="shortener"' in line and 'system="sql"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in ours if 'verb="one"' in line)


@pytest.mark.box("shortener.cache")
async def test_a_hot_link_costs_the_database_nothing(visitor, town):
    code = (await visitor.made())["short_code"]
    await visitor.follow(code)
    before = reads(town)
    for _ in range(20):
        assert (await visitor.follow(code)).status_code == 302
    assert reads(town) == before


@pytest.mark.box("shortener.cache")
async def test_a_code_that_there_is_not_costs_the_database_one_look(visitor, town):
    await visitor.follow("nowhere")
    before = reads(town)
    for _ in range(20):
        assert (await visitor.follow("nowhere")).status_code == 404
    assert reads(town) == before


@pytest.mark.box("shortener.cache")
async def test_a_link_is_followed_at_once_though_its_code_was_missing(visitor):
    assert (await visitor.follow("spring")).status_code == 404
    await visitor.made(custom_code="spring")
    assert (await visitor.follow("spring")).status_code == 302
    assert (await visitor.follow("summer")).status_code == 404
    await visitor.import_({"original_url": LONG, "custom_code": "summer"})
    assert (await visitor.follow("summer")).status_code == 302


@pytest.mark.box("shortener.cache")
async def test_the_cache_answers_until_the_end_and_not_a_millisecond_longer(visitor, town):
    """Trap: an entry cached for 24 hours when the link was made."""
    code = (await visitor.made(expires_days=1 / 24))["short_code"]
    assert (await visitor.follow(code)).status_code == 302
    town.clock.advance(3599.999)
    assert (await visitor.follow(code)).status_code == 302
    town.clock.advance(0.001)
    assert (await visitor.follow(code)).json()["type"] == "urn:bastide:link-expired"


TAKE_BACK = {
    "disable": lambda visitor, code, key: visitor.change(code, key, disabled=True),
    "delete": lambda visitor, code, key: visitor.delete(code, key),
    "block": lambda visitor, code, key: visitor.client.put(f"/api/blocked/{code}"),
    "lead elsewhere": lambda visitor, code, key: visitor.change(
        code, key, original_url="https://other.example/"
    ),
    "limit": lambda visitor, code, key: visitor.change(code, key, visits_max=1),
}


@pytest.mark.box("shortener.cache")
@pytest.mark.parametrize("verb", TAKE_BACK)
async def test_what_was_taken_back_is_not_answered_once(verb, visitor):
    """While others follow it without a pause."""
    made = await visitor.made()
    code, key = made["short_code"], made["manage_key"]
    done = asyncio.Event()
    late = []

    async def follow() -> None:
        while not done.is_set() or len(late) < 5:
            await asyncio.sleep(0)  # a refusal from the cache suspends nowhere
            began_late = done.is_set()
            reply = await visitor.follow(code)
            if began_late:
                late.append((reply.status_code, reply.headers.get("location")))

    async def take_back() -> None:
        await asyncio.sleep(0)
        assert (await TAKE_BACK[verb](visitor, code, key)).is_success
        done.set()

    await asyncio.gather(*(follow() for _ in range(8)), take_back())
    if verb == "lead elsewhere":
        assert set(late) == {(302, "https://other.example/")}
    elif verb == "limit":
        assert late.count((302, LONG)) <= 1
    else:
        assert set(late) == {(410, None)}


@pytest.mark.box("shortener.cache")
async def test_a_change_whose_answer_is_lost_is_heard_by_the_cache(visitor, town):
    """Who changes a link and dies before the cache has let go has told of it in the commit."""
    made = await visitor.made()
    code = made["short_code"]
    await settle(town)
    assert (await visitor.follow(code)).status_code == 302
    with armed("bus.fetched", failing(LogAway("held"))):
        with armed("sql.after_commit", failing(OSError(errno.EIO, "lost"))):
            reply = await visitor.change(code, made["manage_key"], disabled=True)
        assert reply.status_code == 503
        assert (await visitor.follow(code)).status_code == 302  # nobody was told that it is off
    await settle(town)
    assert (await visitor.follow(code)).status_code == 410


@pytest.mark.box("shortener.cache")
async def test_on_a_database_that_others_share_a_cache_of_ones_own_is_not_asked(town):
    uses = {o.manifest.name: o.use for o in town.town.opened if o.client.name == "shortener"}
    assert shared_alike(uses["shortener"])
    for sql, cache, alike in (
        ("postgres://h/d", "memory://", False),
        ("postgres://h/d", "redis://h", True),
        ("sqlite://", "redis://h", True),
        ("sqlite:///shared", "memory://", False),
        ("sqlite://", "memory://", True),
    ):
        use = uses["shortener"]
        environ = {"BASTIDE_SQL_URL": sql, "BASTIDE_CACHE_URL": cache}
        use.town.environ = {**use.town.environ, **environ}
        assert shared_alike(use) == alike


# Two processes


@pytest.mark.engine("postgres")
@pytest.mark.engine("redis")
@pytest.mark.box("shortener.cache")
@pytest.mark.parametrize("verb", ["delete", "disable"])
async def test_what_one_process_takes_back_no_other_answers(verb, tmp_path):
    """Both on one PostgreSQL and one Redis; each is followed by many, and has the link near."""
    async with (
        clean_engines() as environ,
        running_town(tmp_path / "one", environ=environ) as one,
        running_town(tmp_path / "two", environ=environ) as two,
        httpx.AsyncClient(base_url=one.address, timeout=30) as here,
        httpx.AsyncClient(base_url=two.address, timeout=30) as there,
    ):
        for n in range(20):
            made = (await here.post("/api/shorten", json={"original_url": LONG})).json()
            code, key = made["short_code"], made["manage_key"]
            done, late = asyncio.Event(), []

            async def follow(client, code=code, done=done, late=late) -> None:
                seen = 0
                while seen < 3:
                    began_late = done.is_set()
                    status = (await client.get(f"/{code}")).status_code
                    if began_late:
                        late.append(status)
                        seen += 1

            async def take_back(code=code, key=key, done=done, n=n) -> None:
                reply = await there.get(f"/{code}")
                assert reply.is_redirect, reply.text
                if verb == "delete":
                    reply = await here.delete(f"/api/{code}", headers=bearer(key))
                else:
                    reply = await here.patch(
                        f"/api/{code}", json={"disabled": True}, headers=bearer(key)
                    )
                assert reply.is_success, reply.text
                done.set()

            async with asyncio.timeout(30):
                followers = (follow(client) for client in (here, there) for _ in range(4))
                await asyncio.gather(*followers, take_back())
            assert set(late) == {410}, f"round {n}"
