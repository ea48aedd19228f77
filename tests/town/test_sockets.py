"""The sockets of a town: shared with others, handed on to the next one, behind a proxy."""

import http.client
import signal
import socket
import struct
import threading
import time
from collections import Counter
from contextlib import closing

import httpx
import pytest

from bastide.parts.http.core.proxy_protocol import SIGNATURE

RESTARTS = 3


class Asking(threading.Thread):
    """Asks anew, each time on a new connection, until told to stop; what fails is kept."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self.address = address.removeprefix("http://")
        self.over = threading.Event()
        self.seen: Counter[int | str] = Counter()
        self.slowest_s = 0.0

    def run(self) -> None:
        while not self.over.is_set():
            began_s = time.perf_counter()
            try:
                with closing(http.client.HTTPConnection(self.address, timeout=20)) as one:
                    one.request("GET", "/livez", headers={"connection": "close"})
                    self.seen[one.getresponse().status] += 1
            except OSError as error:
                self.seen[type(error).__name__] += 1
            except http.client.HTTPException as error:
                self.seen[type(error).__name__] += 1
            self.slowest_s = max(self.slowest_s, time.perf_counter() - began_s)


def test_a_town_begins_anew_and_nobody_is_refused(start) -> None:
    town = start().until_ready()
    address, pid = town.file.http, town.process.pid
    asking = [Asking(address) for _ in range(2)]
    for one in asking:
        one.start()
    for _ in range(RESTARTS):
        town.process.send_signal(signal.SIGHUP)
        town.until_ready()
        assert town.file.http == address
        assert town.file.pid == pid
    for one in asking:
        one.over.set()
        one.join()
    seen = sum((one.seen for one in asking), Counter())
    assert set(seen) == {204}, seen
    assert town.stop() == 0
    assert town.errors() == ""


def test_a_request_under_way_is_finished_before_a_town_begins_anew(start) -> None:
    town = start().until_ready()
    client = http.client.HTTPConnection(town.file.http.removeprefix("http://"), timeout=30)
    client.request("GET", "/mill/wait?seconds=0.5")
    town.get("/healthz")
    town.process.send_signal(signal.SIGHUP)
    reply = client.getresponse()
    assert (reply.status, reply.read()) == (200, b'{"text":"waited"}')
    town.until_ready()
    assert town.get("/healthz").status_code == 200


def test_a_unix_socket_answers_like_the_main_address(start, tmp_path) -> None:
    path = tmp_path / "town.sock"
    town = start(BASTIDE_HTTP_UNIX=str(path)).until_ready()
    assert path.stat().st_mode & 0o777 == 0o600
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
        assert client.get("http://town/livez").status_code == 204
    assert town.stop() == 0
    assert not path.exists()


def test_a_unix_socket_that_a_killed_town_has_left_is_replaced(start, tmp_path) -> None:
    path = tmp_path / "town.sock"
    killed = start(BASTIDE_HTTP_UNIX=str(path)).until_ready()
    killed.process.kill()
    killed.ended()
    assert path.exists()
    town = start(BASTIDE_HTTP_UNIX=str(path)).until_ready()
    refused = start(data=tmp_path / "other", BASTIDE_HTTP_UNIX=str(path))
    assert refused.ended() == 2, "somebody listens there"
    assert "town.sock" in refused.errors()
    assert town.stop() == 0


def test_two_towns_may_share_a_port(start, tmp_path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"BASTIDE_HTTP": f"127.0.0.1:{port}", "BASTIDE_HTTP_REUSE_PORT": "true"}
    only = ("--only", "mill")
    towns = [start(*only, data=tmp_path / str(n), **shared).until_ready() for n in range(2)]
    pids = set()
    for _ in range(60):
        with closing(socket.create_connection(("127.0.0.1", port))) as wire:
            wire.sendall(b"GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            head = wire.recv(4_096).decode()
            pids.add(head.partition("x-request-id: ")[2][:10])
    assert len(pids) == 2, "each numbers its requests behind a prefix of its own"
    for town in towns:
        assert town.stop() == 0


def test_behind_a_proxy_the_client_is_who_the_proxy_says(start) -> None:
    town = start(BASTIDE_HTTP_PROXY_PROTOCOL="true").until_ready()
    host, port = town.file.http.removeprefix("http://").split(":")
    addresses = bytes([192, 0, 2, 7, 127, 0, 0, 1]) + struct.pack(">HH", 50_000, 80)
    header = SIGNATURE + bytes([0x21, 0x11]) + struct.pack(">H", len(addresses)) + addresses
    for begins, status in ((header, b" 403 "), (b"", b"")):
        with closing(socket.create_connection((host, int(port)), timeout=20)) as wire:
            wire.sendall(begins + b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n")
            try:
                assert status in wire.recv(65_536)
            except ConnectionResetError:
                assert not begins
    assert town.stop() == 0


@pytest.mark.parametrize("variable", ["BASTIDE_HTTP_HEADERS", "BASTIDE_HTTP_IDLE_S"])
def test_a_limit_that_is_none_is_refused_by_name(start, variable: str) -> None:
    town = start(**{variable: "0"})
    assert town.ended() == 2
    assert variable in town.errors()
