"""The bench, on short histories: its oracles decide as it says, or it would raise."""

from bastide.parts.histories import bench


async def test_every_workload_gives_its_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "OPERATIONS", 600)
    for workload in bench.BENCHES:
        figures = await workload.run(tmp_path, 0.1)
        assert figures
        assert all(name.endswith("_per_s") and rate > 0 for name, rate in figures.items())
