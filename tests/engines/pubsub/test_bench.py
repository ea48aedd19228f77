"""The workloads run; how fast is for `bastide bench pubsub`."""

import pytest

from bastide.engines.pubsub.bench import BENCHES
from tests.parts.redis.kit import shared_url

OURS = [bench for bench in BENCHES if bench.name != "redis"]
(REDIS,) = (bench for bench in BENCHES if bench.name == "redis")


@pytest.mark.parametrize("bench", OURS, ids=lambda bench: bench.name)
async def test_a_workload_gives_its_figures(bench, tmp_path):
    figures = await bench.run(tmp_path, 0.01)
    assert figures
    assert all(value > 0 for value in figures.values())


@pytest.mark.engine("redis")
async def test_on_redis_it_gives_its_figures(tmp_path, monkeypatch):
    monkeypatch.setenv("BASTIDE_PUBSUB_URL", shared_url())
    figures = await REDIS.run(tmp_path, 0.01)
    assert figures["to_100_deliveries_per_s"] > 0
    assert all(value > 0 for value in figures.values())


@pytest.mark.parametrize("url", ["", "memory://"])
async def test_without_a_server_it_says_that_it_is_skipped(tmp_path, monkeypatch, capsys, url):
    monkeypatch.setenv("BASTIDE_PUBSUB_URL", url)
    assert await REDIS.run(tmp_path, 0.01) == {}
    said = capsys.readouterr()
    assert "skipped: BASTIDE_PUBSUB_URL names no redis://" in said.err
    assert said.out == ""
