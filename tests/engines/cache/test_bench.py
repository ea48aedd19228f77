"""The workloads run; how fast is for `bastide bench cache`."""

import pytest

from bastide.engines.cache.bench import BENCHES

OF_REDIS = ("redis", "client")


@pytest.mark.parametrize(
    "bench",
    [
        pytest.param(b, id=b.name, marks=[pytest.mark.engine("redis")] * (b.name in OF_REDIS))
        for b in BENCHES
    ],
)
async def test_a_workload_gives_its_figures(bench, tmp_path):
    figures = await bench.run(tmp_path, 0.05)
    if not figures:
        pytest.skip("redis-server is not installed")
    assert all(value > 0 for value in figures.values())
    if bench.name == "client":
        assert figures["beside_redis_py_ratio"] > 1


@pytest.mark.parametrize("bench", [b for b in BENCHES if b.name in OF_REDIS], ids=lambda b: b.name)
async def test_without_redis_a_workload_says_that_it_is_skipped(
    bench, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert await bench.run(tmp_path, 0.05) == {}
    assert capsys.readouterr().err == "skipped: redis-server is not installed\n"
