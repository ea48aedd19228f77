"""kill -9 in the middle of redirects: every answered one is stored, once.

BASTIDE_TEST_ROUNDS multiplies the kills; `BASTIDE_TEST_ROUNDS=5` is the full campaign: five kills,
each after two seconds at 2,000 redirects a second; `-s` shows its figures. It asserts half of that
rate, for the crowd shares a small machine with the town.
"""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter

import msgspec
import pytest
from httpx import AsyncClient

from bastide.apps.shortener.bench import VISITORS, crowd, made_links, running_town
from bastide.apps.shortener.contract import CLICKS
from bastide.base.rt import runtime
from bastide.parts.http.bench.servers import free_port
from bastide.testing.town import raised
from tests.apps.shortener.conftest import bus_of
from tests.engines.cache.kit import eventually

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
    stored = await logged(tmp_path)
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


async def logged(data) -> Counter[str]:
    """The requests whose clicks are in the log; what a relay that was killed has repeated, under
    the same source and number, counts once.
    """
    kept = {"BASTIDE_SQL_URL": "sqlite://", "BASTIDE_LOG_URL": "file://"}
    events: dict[tuple[str, str], str] = {}
    async with raised("shortener", environ=kept, data=data) as town:
        log, offset = bus_of(town)._log, 0
        while entries := await log.read(CLICKS.name, 0, offset):
            for entry in entries:
                event = msgspec.json.decode(entry.record.value)
                events[event["source"], event["id"]] = event["data"]["request_id"]
            offset = entries[-1].offset + 1
    return Counter(events.values())


@pytest.mark.shows("shortener.restart")
@pytest.mark.box("shortener.exact")
async def test_clicks_are_exact_though_the_log_is_killed_and_then_the_town(tmp_path):
    """The log is a town of its own, on a disk of its own, reached by Kafka's protocol."""
    answered, codes, key = Counter(), [], ""
    port = free_port()
    kafka = {"BASTIDE_LOG_URL": f"kafka://127.0.0.1:{port}"}
    for _ in range(KILLS):
        log = await log_on(tmp_path / "log", port)
        async with running_town(tmp_path / "town", environ=kafka) as town:
            if not codes:
                codes, key = await made_links(town, LINKS)
            visiting = asyncio.create_task(
                crowd(town, [f"/{c}" for c in codes], seconds=60, visits_per_s=VISITS_PER_S)
            )
            await asyncio.sleep(KILLED_AFTER_S)  # not to wait for something: this is the load
            log.kill()
            await log.wait()
            await asyncio.sleep(KILLED_AFTER_S / 2)  # redirects go on without a log
            log = await log_on(tmp_path / "log", port)
            await asyncio.sleep(KILLED_AFTER_S)
            town.process.kill()
            log.kill()
            await log.wait()
            visit = await visiting
            assert {answer.status for answer in visit.answers} == {302}
            answered.update(answer.request_id for answer in visit.answers)
    log = await log_on(tmp_path / "log", port)
    async with running_town(tmp_path / "town", environ=kafka) as town:
        total = await settled_total(town.address, key)
        town.process.terminate()
        assert await town.process.wait() == 0
    log.terminate()
    assert await log.wait() == 0
    stored = await logged(tmp_path / "log")
    lost, beyond = set(answered) - set(stored), set(stored) - set(answered)
    print(
        f"{len(answered)} answered, {len(lost)} of them lost, {len(beyond)} beyond, {total} counted"
    )
    assert not lost
    assert set(stored.values()) == {1}
    assert len(beyond) <= KILLS * VISITORS
    assert total == len(stored)


async def log_on(data, port) -> Process:
    """A town that is nothing but a log, when it is ready."""
    log = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bastide", "up", "--only", "log", "--data", str(data)),
        *("--http", "127.0.0.1:0"),
        env={**os.environ, "BASTIDE_LOG_KAFKA": f"127.0.0.1:{port}"},
        stdout=PIPE,
    )
    assert log.stdout is not None
    while line := await log.stdout.readline():
        if line.startswith(b"ready"):
            return log
    raise AssertionError("the log did not start")


async def settled_total(address: str, key: str) -> int:
    """When nothing is pending any more."""
    async with AsyncClient(base_url=address, timeout=30) as client:
        headers = {"authorization": f"Bearer {key}"}

        async def items():
            reply = await client.get("/api/links", params={"limit": "100"}, headers=headers)
            found = reply.json()["items"]
            return None if any(link["pending"] for link in found) else found

        async def is_settled():
            return await items() is not None

        await eventually(is_settled, within_s=30)
        return sum(link["total_clicks"] for link in await items())
