"""The town under uvicorn, as a process of its own."""

import asyncio
import shutil
import ssl
import subprocess
import sys
from contextlib import asynccontextmanager

import httpx
import pytest

from bastide.base.rt import net
from tests.parts.http.server_kit import WITHIN_S
from tests.town.conftest import SOURCES, environ_of


@pytest.fixture
def certificate(tmp_path):
    """Of localhost, made by openssl; None where there is none."""
    if shutil.which("openssl") is None:
        return None
    key, made = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    named = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    subprocess.run(
        [*command, *named, "-keyout", key, "-out", made], check=True, capture_output=True
    )
    return key, made


@asynccontextmanager
async def town_under_uvicorn(tmp_path, *words, **variables):
    """A process of its own, and where it answers."""
    listening = net.bind("127.0.0.1", 0)
    port = listening.getsockname()[1]
    environ = environ_of(
        BASTIDE_DATA=str(tmp_path / "town"), BASTIDE_HTTP=f"127.0.0.1:{port}", **variables
    )
    command = (sys.executable, "-m", "uvicorn", "bastide.asgi:app", "--fd")
    process = await asyncio.create_subprocess_exec(
        *command,
        *(str(listening.fileno()), "--no-access-log", *words),
        env=environ,
        cwd=SOURCES,
        pass_fds=[listening.fileno()],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    listening.close()
    try:
        yield process, port
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_the_town_runs_under_uvicorn_with_tls(tmp_path, certificate) -> None:
    tls, scheme, verify = (), "http", False
    if certificate:
        key, made = map(str, certificate)
        tls, scheme = ("--ssl-keyfile", key, "--ssl-certfile", made), "https"
        verify = ssl.create_default_context(cafile=made)
    async with town_under_uvicorn(tmp_path, *tls) as (process, port):
        base = f"{scheme}://127.0.0.1:{port}"
        async with httpx.AsyncClient(
            base_url=base, verify=verify, timeout=WITHIN_S, trust_env=False
        ) as client:
            health = await client.get("/healthz")
            assert (health.status_code, health.json()["ok"]) == (200, True)
            long = {"original_url": "https://example.org/a"}
            made = await client.post("/shortener/api/shorten", json=long)
            assert made.status_code == 201, made.text
            short = made.json()["short_url"]
            assert short.startswith(f"http://127.0.0.1:{port}/shortener/")
            path = short.removeprefix(f"http://127.0.0.1:{port}")
            followed = await client.get(path)
            assert followed.headers["location"] == long["original_url"]
            metrics = (await client.get("/metrics")).text
            assert 'system="shortener"' in metrics
        process.terminate()
        said, _ = await process.communicate()
        assert process.returncode in (0, -15), said.decode()
        assert b"Application shutdown complete" in said
        assert b"Traceback" not in said, said.decode()
    async with town_under_uvicorn(tmp_path) as (process, port):
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=WITHIN_S, trust_env=False
        ) as client:
            kept = await client.get(path)
            assert kept.headers["location"] == long["original_url"]
        process.terminate()
        await process.communicate()


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"BASTIDE_SHORTENER_NONSENSE": "1"}, b"BASTIDE_SHORTENER_NONSENSE"),
        ({"BASTIDE_HTTP_STALL_S": "0"}, b"BASTIDE_HTTP_STALL_S"),
    ],
)
async def test_a_town_that_can_t_open_ends_the_server_with_a_word(
    tmp_path, variables, told
) -> None:
    async with town_under_uvicorn(tmp_path, **variables) as (process, _):
        said, _ = await process.communicate()
        assert process.returncode != 0
        assert told in said
        assert b"Traceback" not in said, said.decode()


async def test_events_do_not_keep_a_server_that_was_told_for_how_long(tmp_path) -> None:
    waits = ("--timeout-graceful-shutdown", "1")
    async with town_under_uvicorn(tmp_path, *waits) as (process, port):
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=WITHIN_S, trust_env=False
        ) as client:
            long = {"original_url": "https://example.org/a"}
            made = (await client.post("/shortener/api/shorten", json=long)).json()
            clicks = f"/shortener/api/{made['short_code']}/clicks"
            key = {"authorization": f"Bearer {made['manage_key']}"}
            async with client.stream("GET", clicks, headers=key) as counted:
                assert counted.headers["content-type"] == "text/event-stream"
                process.terminate()
                said, _ = await process.communicate()
        assert b"Application shutdown complete" in said, said.decode()


async def test_without_lifespan_the_town_says_what_is_missing(tmp_path) -> None:
    async with town_under_uvicorn(tmp_path, "--lifespan", "off") as (process, port):
        async with httpx.AsyncClient(timeout=WITHIN_S, trust_env=False) as client:
            found = await client.get(f"http://127.0.0.1:{port}/healthz")
            assert found.status_code == 500
        process.terminate()
        said, _ = await process.communicate()
        assert b"its server is to run the lifespan" in said
