"""The workloads run; how fast is for `bastide bench ids`."""

from pathlib import Path

import pytest

from bastide.base.manifest import Bench
from bastide.engines.ids.bench import BENCHES


@pytest.mark.box("ids.comparison-modes")
@pytest.mark.parametrize("bench", BENCHES, ids=lambda bench: bench.name)
async def test_a_workload_gives_its_figures(bench: Bench, tmp_path: Path) -> None:
    figures = await bench.run(tmp_path, 0.05)
    assert figures
    assert all(value > 0 for value in figures.values())
