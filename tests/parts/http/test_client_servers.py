"""Servers that are not ours: nginx and uvicorn."""

import asyncio
import hashlib
import shutil
import subprocess
from contextlib import asynccontextmanager

import pytest
import uvicorn

from bastide.base.rt import net
from bastide.parts.http.client.client import Client
from bastide.parts.http.client.contract import PoolLimits
from tests.parts.http.client_kit import one_connection, options

NGINX = """
daemon off;
user root;  # if we are: its workers shall read what we wrote
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {directory};
    proxy_temp_path {directory};
    fastcgi_temp_path {directory};
    uwsgi_temp_path {directory};
    scgi_temp_path {directory};
    client_max_body_size 1m;
    keepalive_requests 5;
    server {{
        listen unix:{directory}/nginx.sock;
        root {directory}/files;
        location /hello {{ return 200 "hello from $http_host"; }}
        location /none {{ return 204; }}
        location /zipped {{ gzip on; gzip_types *; gzip_min_length 1; alias {directory}/files; }}
    }}
}}
"""


@pytest.fixture(scope="module")
def nginx(tmp_path_factory):
    """On a unix socket; files/big has three megabytes."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("nginx is not installed: apt-get install nginx")
    directory = tmp_path_factory.mktemp("nginx")
    (directory / "files").mkdir()
    (directory / "files" / "big").write_bytes(bytes(range(256)) * 3 * 4096)
    (directory / "nginx.conf").write_text(NGINX.format(directory=directory))
    command = [program, "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", "stderr"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield directory / "nginx.sock"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
async def asking(nginx):
    while not nginx.exists():  # noqa: ASYNC110 (another program makes it)
        await asyncio.sleep(0.005)
    async with Client(options(via=f"unix:{nginx}", pool=one_connection())) as client:
        yield client


async def test_nginx_answers_what_has_a_body_and_what_has_none(asking):
    for _ in range(12):  # it closes each connection after five
        found = await asking.request("GET", "http://shop:81/hello")
        assert (found.status, found.body) == (200, b"hello from shop:81")
        found = await asking.request("HEAD", "http://shop/big")
        assert (found.header(b"Content-Length"), found.body) == (b"3145728", b"")
        assert (await asking.request("GET", "http://shop/none")).status == 204
        assert (await asking.request("GET", "http://shop/missing")).status == 404
    etag = found.header(b"etag")
    found = await asking.request("GET", "http://shop/big", headers=[(b"if-none-match", etag)])
    assert (found.status, found.body) == (304, b"")
    found = await asking.request("GET", "http://shop/big", headers=[(b"range", b"bytes=1-4")])
    assert (found.status, found.body) == (206, b"\1\2\3\4")


async def test_nginx_sends_a_file_by_length_and_in_chunks(asking):
    wanted = hashlib.sha256(bytes(range(256)) * 3 * 4096).digest()
    found = await asking.request("GET", "http://shop/big")
    assert hashlib.sha256(found.body).digest() == wanted
    gzip = [(b"accept-encoding", b"gzip")]
    found = await asking.request("GET", "http://shop/zipped/big", headers=gzip)
    assert found.header(b"transfer-encoding") == b"chunked"
    assert found.header(b"content-encoding") == b"gzip"
    assert found.body[:2] == b"\x1f\x8b"


async def test_nginx_refuses_a_body_before_it_was_sent(asking):
    async def body():
        while True:
            yield bytes(65_536)

    found = await asking.request("PUT", "http://shop/big", body=body())
    assert found.status == 405
    huge = [(b"content-length", b"%d" % (1 << 40))]
    found = await asking.request("PUT", "http://shop/big", headers=huge, body=body(), continue_s=20)
    assert found.status == 413
    assert (await asking.request("GET", "http://shop/hello")).status == 200


async def app(scope, receive, send):
    """Echoes in pieces, as they come."""
    head = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"x-path", scope["raw_path"])],
    }
    more, started = True, False
    while more:
        message = await receive()
        more = message.get("more_body", False)
        if not started:
            await send(head)
            started = True
        body = message.get("body", b"")
        await send({"type": "http.response.body", "body": body, "more_body": more})


@asynccontextmanager
async def serving_app():
    listening = net.bind("127.0.0.1", 0)
    port = listening.getsockname()[1]
    config = uvicorn.Config(
        app, lifespan="off", log_level="critical", http="httptools", loop="none"
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None
    task = asyncio.create_task(server._serve(sockets=[listening]))
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


async def test_uvicorn_echoes_what_it_is_sent():
    async def body():
        for _ in range(100):
            yield bytes(10_000)

    async with serving_app() as url, Client(options()) as client:
        found = await client.request("POST", f"{url}/a%20b", body=b"hello")
        assert (found.body, found.header(b"x-path")) == (b"hello", b"/a%20b")
        async with client.stream("PUT", url, body=body(), continue_s=20) as answer:
            assert sum([len(piece) async for piece in answer.pieces()]) == 1_000_000


async def test_uvicorn_answers_a_hundred_at_once_over_ten_connections():
    limits = PoolLimits(connections_of_one_origin=10)
    async with serving_app() as url, Client(options(pool=limits)) as client:
        asking = [client.request("POST", url, body=b"%d" % n) for n in range(100)]
        found = await asyncio.gather(*asking)
        assert [answer.body for answer in found] == [b"%d" % n for n in range(100)]
