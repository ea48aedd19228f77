"""kill -9 in the middle of redirects: every answered one is stored, once.

BASTIDE_TEST_ROUNDS multiplies the kills; `BASTIDE_TEST_ROUNDS=5` is the full campaign: five kills,
each after two seconds at 2,000 redirects a second; `-s` shows its figures. It asserts half of that
rate, for the crowd shares a small machine with the town.
"""

import asyncio
import os
from collections import Counter

import pytest
from httpx import AsyncClient

from bastide.apps.shortener.bench import VISITORS, crowd, made_links, running_town
from bastide.apps.shortener.core.clicks import decode
from bastide.base.rt import runtime
from bastide.parts.seglog.log import open_seglog

ROUNDS = int(os.environ.get("BASTIDE_TEST_ROUNDS", "1"))
KILLS = max(2, min(ROUNDS, 5))
KILLED_AFTER_S = 0.4 if ROUNDS == 1 else 2.0
VISITS_PER_S = 2000
RATE_MIN = VISITS_PER_S / 2 if ROUNDS >= 5 else VISITS_PER_S / 10
LINKS = 20


@pytest.mark.shows("shortener.restart")
@pytest.mark.box("shortener.exact")
async def test_every_answered_redirect_is_stored_once_whatever_is_killed(tmp_path):
    answered, unanswered, codes, key, rates = Counter(), 0, [], "", []
    for kill in range(KILLS):
        async with running_town(tmp_path) as town:
            if kill == 0:
                codes, key = await made_links(town, LINKS)
            visiting = asyncio.create_task(
                crowd(town, [f"/{c}" for c in codes], seconds=60, visits_per_s=VISITS_PER_S)
            )
            started_s = runtime.monotonic()
            await asyncio.sleep(KILLED_AFTER_S)  # not to wait for something: this is the load
            town.process.kill()
            seconds = runtime.monotonic() - started_s
            visit = await visiting
            assert {answer.status for answer in visit.answers} == {302}
            answered.update(answer.request_id for answer in visit.answers)
            unanswered += visit.unanswered
            rates.append(len(visit.answers) / seconds)
    async with running_town(tmp_path) as town:
        total = await total_of(town.address, key)
        town.process.terminate()
        assert await town.process.wait() == 0
    stored = await journalled(tmp_path)
    lost, beyond = set(answered) - set(stored), set(stored) - set(answered)
    print(
        f"{KILLS} kills: {len(answered)} answered, {len(lost)} of them lost, {len(stored)} stored, "
        f"{len(beyond)} beyond, at most {unanswered} in flight, {total} counted; "
        f"redirects a second before each kill: {', '.join(f'{rate:.0f}' for rate in rates)}"
    )
    assert min(rates) >= RATE_MIN, "hardly any load"
    assert not lost
    assert set(stored.values()) == {1}
    assert len(beyond) <= unanswered <= KILLS * VISITORS
    assert total == sum(stored.values())


async def total_of(address: str, key: str) -> int:
    async with AsyncClient(base_url=address) as client:
        headers = {"authorization": f"Bearer {key}"}
        reply = await client.get("/api/links", params={"limit": "100"}, headers=headers)
    return sum(link["total_clicks"] for link in reply.json()["items"])


async def journalled(data) -> Counter[str]:
    [journal] = (data / "shortener" / "clicks").iterdir()
    async with open_seglog(journal) as log:
        return Counter([decode(entry.value).request_id async for entry in log.scan(0)])
