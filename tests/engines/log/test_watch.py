"""What the town shows of it: calls, errors, times by owner; health; and nothing that it keeps."""

import errno
import logging
import os

import pytest

from bastide.base import faults
from bastide.engines.log.contract import LogAway, Place, Record, Topic, TopicMissing, TopicOfAnother
from bastide.testing.town import raised
from tests.base.told import figures_of, health_of, series_of, told_by
from tests.engines.log.town_kit import some
from tests.engines.log.wire_kit import batch_of, connected, produced, served

CLICKS = "owner.clicks"
WORD = b"open-sesame-7f3a"


@pytest.mark.shows("log.watch")
async def test_calls_errors_and_times_are_counted_for_their_owner(listed):
    async with raised() as town:
        log = town.served("owner").engine
        for _ in range(3):
            await log.append(CLICKS, some(2))
        await log.read(CLICKS, 0, 0)
        with pytest.raises(TopicOfAnother):
            await log.append("mill.flour", some(1))
        with pytest.raises(TopicMissing):
            await log.read("owner.none", 0, 0)
        found = await figures_of(town)
    mine = {"client": "owner", "system": "log"}
    for verb, count, refusal in (("append", 4, "TopicOfAnother"), ("read", 2, "TopicMissing")):
        assert found[series_of("bastide_calls_total", verb=verb, **mine)] == count
        assert found[series_of("bastide_call_seconds_count", verb=verb, **mine)] == count
        failed = series_of("bastide_calls_failed_total", verb=verb, outcome=refusal, **mine)
        assert found[failed] == 1


async def test_connections_requests_and_those_cut_off_are_counted(listed):
    async with (
        raised() as town,
        served(_Behind(town)) as port,
        connected(port) as client,
        connected(port) as broken,
    ):
        await client.make("plain")
        await client.ask("produce", **produced("plain", batch_of(b"a")))
        broken.writer.write(b"\xff\xff\xff\xff")
        assert await broken.is_cut()
        found = await figures_of(town)
        assert found["bastide_log_connections"] == 1
        assert found["bastide_log_requests_total"] == 2
        assert found["bastide_log_refused_total"] == 1


class _Behind:
    def __init__(self, town):
        self.backend = town.town.behind_wire("log")


@pytest.mark.shows("log.watch")
async def test_health_tells_of_an_outage(listed):
    async with raised() as town:
        log = town.served("owner").engine
        await log.append(CLICKS, some(1))
        assert (await health_of(town, "log"))["ok"]
        broken = OSError(errno.EIO, os.strerror(errno.EIO))
        with (
            faults.armed("seglog.before_sync", faults.failing(broken)),
            pytest.raises(LogAway),
        ):
            await log.create(Topic("owner.new"))
        told = await health_of(town, "log")
        assert not told["ok"]
        assert "Input/output error" in str(told["error"])


@pytest.mark.shows("log.watch")
async def test_nothing_that_is_kept_is_told_in_logs_metrics_or_health(listed, caplog):
    caplog.set_level(logging.DEBUG)
    async with raised() as town, served(_Behind(town)) as port, connected(port) as client:
        log = town.served("owner").engine
        await log.append(CLICKS, [Record(WORD, WORD, [(WORD.decode(), WORD)])])
        async with log.member("g", [CLICKS]) as member:
            await member.poll()
            await member.commit([Place(CLICKS, 0, 1)])
        await client.make("plain")
        client.send("produce", 8, **produced("plain", WORD))  # no batch
        await client.answer()
        client.writer.write(b"\0\0\0\x20" + WORD * 2)  # no request
        assert await client.is_cut()
        said = await told_by(town)
        assert "is cut off" in caplog.text
    quiet = {path: text for path, text in said.items() if not path.startswith("/log")}
    assert WORD.decode() not in "".join(quiet.values()) + caplog.text
