"""The workloads run; how fast is for `bastide bench http`."""

from shutil import which

import pytest

from bastide.base.errors import Unavailable
from bastide.parts.http.bench import BENCHES, hot, load, memory, servers, websocket
from bastide.parts.http.bench.load import Requests, at_rate, found_wrk
from bastide.parts.http.bench.servers import running_module, running_nginx

WITH_WRK = [bench for bench in BENCHES if bench.name in ("redirects", "half_load", "files")]
OURS = "bastide.parts.http.bench.ours"


def found(program: str) -> bool:
    return which(program, path="/usr/bin:/usr/sbin:/usr/local/bin") is not None


needs_wrk = pytest.mark.skipif(not found("wrk"), reason="wrk is not installed")
needs_nginx = pytest.mark.skipif(not found("nginx"), reason="nginx is not installed")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """A turn of each, and few of everything."""
    monkeypatch.setattr(load, "TURNS", 1)
    monkeypatch.setattr(hot, "WARM_S", 0.0)
    monkeypatch.setattr(websocket, "TALKERS", 5)
    monkeypatch.setattr(websocket, "LISTENERS", 20)
    monkeypatch.setattr(memory, "CONNECTIONS", 200)
    monkeypatch.setattr(memory, "WARM", 5)


@needs_wrk
@needs_nginx
@pytest.mark.parametrize("bench", WITH_WRK, ids=lambda bench: bench.name)
async def test_a_workload_gives_its_figures_and_those_of_its_peers(bench, tmp_path):
    figures = await bench.run(tmp_path, 0.1)
    assert all(value > 0 for value in figures.values())
    assert {name.partition("_")[0] for name in figures} >= {"nginx"}
    named = {
        "redirects": ("beside_nginx_ratio", "beside_uvicorn_ratio", "async_beside_nginx_ratio"),
        "half_load": ("redirect_ms_p50", "redirect_ms_p99", "nginx_redirect_ms_p99"),
        "files": ("file_1_mib_beside_nginx_ratio", "file_10_kib_beside_nginx_ratio"),
    }
    assert figures.keys() >= set(named[bench.name])


async def test_sockets_are_measured_beside_aiohttp_and_uvicorn(tmp_path):
    figures = await websocket.sockets(tmp_path, 0.1)
    assert all(value > 0 for value in figures.values())
    for what in ("echoes", "echoes_32_deep", "deliveries"):
        assert {
            f"{what}_per_s",
            f"{what}_beside_aiohttp_ratio",
            f"{what}_beside_uvicorn_ratio",
        } <= figures.keys()


async def test_idle_connections_are_weighed_beside_aiohttp_and_uvicorn(tmp_path):
    figures = await memory.idle(tmp_path, 0.1)
    if not figures:
        pytest.skip("there is no /proc, or descriptors are too few")
    assert figures.keys() == {
        f"{server}{kind}_kb"
        for server in ("", "aiohttp_", "uvicorn_")
        for kind in ("connection", "websocket")
    }


@pytest.mark.parametrize("bench", WITH_WRK, ids=lambda bench: bench.name)
async def test_without_wrk_a_workload_says_that_it_is_left_out(
    bench, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(servers, "which", lambda *_, **__: None)
    assert await bench.run(tmp_path, 0.1) == {}
    assert capsys.readouterr().err == "left out: wrk is not installed\n"


async def test_without_nginx_the_peer_is_left_out_and_a_line_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(servers, "which", lambda *_, **__: None)
    async with running_nginx(tmp_path) as nginx:
        assert nginx is None
    assert capsys.readouterr().err == "left out: nginx is not installed\n"


@needs_wrk
async def test_figures_of_requests_that_are_answered_by_errors_are_refused(tmp_path):
    wrk = found_wrk(tmp_path)
    assert wrk is not None
    async with running_module(OURS, str(tmp_path)) as ours:
        with pytest.raises(Unavailable, match="were not answered well"):
            await wrk.load(ours, Requests("/nowhere/at/all"), 0.1)


async def test_requests_at_a_rate_are_each_answered(tmp_path):
    async with running_module(OURS, str(tmp_path)) as ours:
        waited_s = await at_rate(ours, ["/1", "/2"], per_s=500, seconds=0.2)
    assert 0 < len(waited_s) <= 101
    assert min(waited_s) > 0


async def test_a_server_that_does_not_start_is_no_server():
    with pytest.raises(Unavailable, match="did not start"):
        async with running_module("bastide.parts.http.bench.nowhere"):
            pass


def test_ratios_are_those_of_turns_side_by_side():
    turns = {"ours": [10.0, 30.0, 60.0], "theirs": [10.0, 10.0, 120.0]}
    ratios = {"beside_them": ("ours", "theirs"), "beside_who_is_left_out": ("ours", "others")}
    assert load.figures(turns, ratios) == {
        "ours_per_s": 30.0,
        "theirs_per_s": 10.0,
        "beside_them_ratio": 1.0,
    }
