"""The workloads behind HTTP run; how fast is for `bastide bench sql`."""

from shutil import which

import pytest

from bastide.engines.sql.bench import doors
from bastide.parts.http.bench import load

pytestmark = pytest.mark.skipif(which("wrk") is None, reason="wrk is not installed")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(load, "TURNS", 1)


async def test_each_post_answered_is_a_row_here_and_beside_fastapi(tmp_path):
    figures = await doors.http_writes(tmp_path, 0.1)  # refuses figures of rows that are missing
    assert figures.keys() == {"orders_per_s", "fastapi_orders_per_s", "beside_fastapi_ratio"}
    assert all(value > 0 for value in figures.values())


async def test_links_are_read_from_the_database_beside_nginx(tmp_path):
    figures = await doors.http_reads(tmp_path, 0.1)
    assert figures["redirects_per_s"] > 0
    assert all(value > 0 for value in figures.values())
