"""The workloads run; how fast is for `bastide bench log`."""

from shutil import which

import pytest

from bastide.base.errors import Unavailable
from bastide.engines.log.bench import BENCHES, consume, latency, produce, start
from bastide.engines.log.bench.asking import LATER, Asker, fetch_request, fetched
from bastide.engines.log.bench.feeding import batch_of, feed, kafka_feed
from bastide.parts.http.bench import load, servers
from bastide.parts.http.bench.servers import running_module

OURS = "bastide.engines.log.bench.ours"
RECORDS = ("100_b_records_per_s", "1024_b_records_per_s")

needs_redis = pytest.mark.skipif(
    which("redis-server") is None, reason="redis-server is not installed"
)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """A turn of each."""
    monkeypatch.setattr(load, "TURNS", 1)


@needs_redis
@pytest.mark.parametrize("name", ["produce", "produce_all", "consume"])
async def test_records_are_measured_by_both_clients_and_beside_peers(tmp_path, name):
    (bench,) = (bench for bench in BENCHES if bench.name == name)
    figures = await bench.run(tmp_path, 0.01)
    peers = ("", "librdkafka_", "redis_", "plain_")
    assert figures.keys() >= {f"{peer}{one}" for peer in peers for one in RECORDS}
    assert "1024_b_mb_per_s" in figures
    assert "100_b_records_beside_plain_ratio" in figures
    assert all(value > 0 for value in figures.values())


@needs_redis
async def test_latency_is_that_of_each_record_beside_redis_and_the_disk(tmp_path):
    figures = await latency(tmp_path, 0.1)
    assert figures.keys() == {
        f"{name}record_ms_{percentile}"
        for name in ("", "redis_", "plain_")
        for percentile in ("p50", "p99")
    }
    assert all(value > 0 for value in figures.values())


async def test_starts_are_those_of_a_thread_and_of_a_process(tmp_path):
    figures = await start(tmp_path, 0.01)
    assert 0 < figures["thread_ms_p50"] < figures["process_ms_p50"]


@pytest.mark.parametrize("workload", [produce, consume], ids=lambda workload: workload.__name__)
async def test_without_peers_ours_is_measured_and_lines_say_what_is_left_out(
    tmp_path, monkeypatch, capsys, workload
):
    monkeypatch.setattr(servers, "which", lambda *_, **__: None)
    figures = await workload(tmp_path, 0.01)
    assert "100_b_records_per_s" in figures
    assert not any(name.startswith(("redis_", "nats_")) for name in figures)
    assert "left out: redis-server is not installed\n" in capsys.readouterr().err


async def test_what_is_fed_is_in_the_topic(tmp_path):
    async with running_module(OURS, str(tmp_path)) as ours:
        batch = batch_of(b"v", 3)
        await feed(ours.port, kafka_feed("fed", batch, 3, acks=LATER), window=2)(0)
        async with Asker.connected(ours.port) as asker:
            request = fetch_request("fed", 0, bytes_max=1 << 20, wait_ms=0)
            assert len(fetched(await asker.ask(request))) == 2 * len(batch)


async def test_figures_of_batches_that_are_refused_are_refused(tmp_path):
    async with running_module(OURS, str(tmp_path)) as ours:
        broken = batch_of(b"v", 3)[:-1] + b"x"
        with pytest.raises(Unavailable, match="has refused"):
            await feed(ours.port, kafka_feed("fed", broken, 3, acks=LATER))(0)
