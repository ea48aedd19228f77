"""Where a server may be: behind TLS, on IPv6, on a unix socket."""

import shutil
import ssl
import subprocess

import pytest

from bastide.parts.http.client.client import Client
from bastide.parts.http.client.contract import ConnectFailed
from tests.parts.http.client_kit import answer, answering, options, serving

HELLO = answering(answer(b"hello"))


class Certificate:
    """Of 127.0.0.1 and shop.example, signed by itself."""

    def __init__(self, directory):
        program = shutil.which("openssl")
        if program is None:
            pytest.skip("openssl is not installed: apt-get install openssl")
        self.path, self.key = directory / "certificate.pem", directory / "key.pem"
        names = "subjectAltName=DNS:shop.example,IP:127.0.0.1"
        command = [program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        command += ["-nodes", "-days", "2", "-subj", "/CN=test", "-addext", names]
        command += ["-keyout", str(self.key), "-out", str(self.path)]
        subprocess.run(command, check=True, capture_output=True)

    def server(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path, self.key)
        return context

    def client(self):
        return ssl.create_default_context(cafile=str(self.path))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return Certificate(tmp_path_factory.mktemp("tls"))


async def test_https_is_http_over_a_connection_that_was_checked_and_is_kept(certificate):
    async with (
        serving(HELLO, tls=certificate.server()) as server,
        Client(options(), tls=certificate.client()) as client,
    ):
        for _ in range(3):
            assert (await client.request("GET", server.url)).body == b"hello"
        body = bytes(300_000)
        await client.request("POST", server.url, body=body)
        assert server.requests[-1][1] == body
        assert server.connections == 1


async def test_a_certificate_that_nobody_vouches_for_is_refused(certificate):
    async with (
        serving(HELLO, tls=certificate.server()) as server,
        Client(options()) as client,
    ):
        with pytest.raises(ConnectFailed, match="CERTIFICATE_VERIFY_FAILED") as caught:
            await client.request("GET", server.url)
        assert caught.value.outcome == "none"
        assert server.requests == []


async def test_a_certificate_of_another_name_is_refused_whatever_the_address(certificate):
    async with serving(HELLO, tls=certificate.server()) as server:
        via = options(via=f"127.0.0.1:{server.port}")
        async with Client(via, tls=certificate.client()) as client:
            assert (await client.request("GET", "https://shop.example/")).body == b"hello"
            with pytest.raises(ConnectFailed, match="CERTIFICATE_VERIFY_FAILED"):
                await client.request("GET", "https://bank.example/")


async def test_a_server_without_tls_is_refused_where_tls_was_asked_for(certificate):
    async def refuses(peer):
        await peer.reader.read(1)
        peer.say(answer(status=400))

    async with (
        serving(refuses) as server,
        Client(options(), tls=certificate.client()) as client,
    ):
        with pytest.raises(ConnectFailed):
            await client.request("GET", f"https://127.0.0.1:{server.port}")


async def test_an_address_of_ipv6_is_asked_and_named_in_brackets():
    try:
        serving_there = serving(HELLO, host="::1")
        server = await serving_there.__aenter__()
    except OSError:
        pytest.skip("there is no ::1 here")
    try:
        async with Client(options()) as client:
            url = f"http://[::1]:{server.port}/x"
            assert (await client.request("GET", url)).body == b"hello"
        host = b"host: [::1]:%d\r\n" % server.port
        assert server.heads == [b"GET /x HTTP/1.1\r\n" + host + b"\r\n"]
    finally:
        await serving_there.__aexit__(None, None, None)


async def test_a_unix_socket_is_asked_for_every_origin_or_for_one(tmp_path):
    path = str(tmp_path / "http.sock")
    async with serving(HELLO, path=path) as server:
        async with Client(options(via=f"unix:{path}")) as client:
            assert (await client.request("GET", "http://shop/a")).body == b"hello"
            assert (await client.request("GET", "http://bank/b")).body == b"hello"
        async with Client(options(endpoints={"http://shop": [f"unix:{path}"]})) as client:
            assert (await client.request("GET", "http://shop/c")).body == b"hello"
        assert [head.split()[1] for head in server.heads] == [b"/a", b"/b", b"/c"]
        assert server.heads[0] == b"GET /a HTTP/1.1\r\nhost: shop\r\n\r\n"


async def test_a_unix_socket_that_there_is_not_is_told(tmp_path):
    async with Client(options(via=f"unix:{tmp_path}/none.sock")) as client:
        with pytest.raises(ConnectFailed, match=r"http://shop at unix:/.*none\.sock"):
            await client.request("GET", "http://shop/")
