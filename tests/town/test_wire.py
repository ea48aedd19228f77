"""Bytes that no client library would send, to the server that the town stands behind."""

import re
import socket
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bastide.base.routes.rows import BODY_BYTES_MAX

CLOSE = b"host: localhost\r\nconnection: close\r\n\r\n"


def said(town, sent: bytes) -> bytes:
    """All that the town answers until it closes."""
    with _wire(town) as wire:
        wire.sendall(sent)
        pieces = []
        while piece := wire.recv(65_536):
            pieces.append(piece)
    return b"".join(pieces)


def _wire(town) -> socket.socket:
    host, port = town.file.http.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def status(answer: bytes) -> int:
    return int(re.match(rb"HTTP/1\.1 (\d{3})", answer)[1])


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /%ff HTTP/1.1\r\n" + CLOSE,
        b"GET /\xff HTTP/1.1\r\n" + CLOSE,
        b"GET /a\r\n" + CLOSE,
        b"GET / HTTP/9.9\r\n" + CLOSE,
        b"BREW / HTTP/1.1\r\n" + CLOSE,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100,
        b"GET / HTTP/1.1\r\nno-colon\r\n" + CLOSE,
        b"GET / HTTP/1.1\r\nx: a\0b\r\n" + CLOSE,
        b"POST /mill/grind HTTP/1.1\r\ncontent-length: -1\r\n" + CLOSE,
        b"POST /mill/grind HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n" + CLOSE,
        b"POST /mill/grind HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n" + CLOSE,
        b"POST /mill/grind HTTP/1.1\r\ncontent-type: application/json\r\n"
        b"transfer-encoding: chunked\r\n" + CLOSE + b"zz\r\n",
    ],
    ids=lambda sent: repr(sent[:60]),
)
def test_what_is_no_http_is_refused_and_harms_nobody(town, sent: bytes) -> None:
    assert status(said(town, sent)) in (400, 405, 505)
    assert town.get("/healthz").status_code == 200


@pytest.mark.parametrize("text", [b"/" + b"p" * 9_000, b"/?" + b"&".join([b"a"] * 4_000)])
def test_a_long_address_is_refused(town, text: bytes) -> None:
    assert status(said(town, b"GET " + text + b" HTTP/1.1\r\n" + CLOSE)) in (400, 414)


@pytest.mark.parametrize("headers", [b"x: 1\r\n" * 101, b"x: " + b"v" * 33_000 + b"\r\n"])
def test_many_and_long_headers_are_refused(town, headers: bytes) -> None:
    assert status(said(town, b"GET / HTTP/1.1\r\n" + headers + CLOSE)) == 431


def test_headers_without_an_end_are_refused(town) -> None:
    """A client that goes on for ever must not fill the memory."""
    before_mb = _memory_mb(town)
    with _wire(town) as wire:
        wire.sendall(b"GET / HTTP/1.1\r\nx: ")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            wire.sendall(b"v" * 100_000_000)
    assert _memory_mb(town) < before_mb + 20


def test_a_head_that_does_not_come_is_not_waited_for(town) -> None:
    started_s = time.perf_counter()
    assert status(said(town, b"GET / HTTP/1.1\r\nhost: ")) == 408
    assert 0.5 < time.perf_counter() - started_s < 10, "launch.py has it wait for 1 s"


def _memory_mb(town) -> float:
    path = Path(f"/proc/{town.process.pid}/status")
    if not path.exists():
        pytest.skip("only Linux tells the memory that another process holds")
    return int(path.read_text().partition("VmRSS:")[2].split()[0]) / 1024


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(town) -> None:
    head = b"POST /mill/grind HTTP/1.1\r\ncontent-type: application/json\r\nhost: localhost\r\n"
    answer = said(town, head + b"content-length: %d\r\n\r\n" % (BODY_BYTES_MAX + 1))
    assert status(answer) == 413


def test_a_chunked_body_is_refused_as_soon_as_it_is_too_large(town) -> None:
    head = b"POST /mill/grind HTTP/1.1\r\ncontent-type: application/json\r\nhost: localhost\r\n"
    chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    answer = said(town, head + b"transfer-encoding: chunked\r\n\r\n" + chunk * 3)
    assert status(answer) == 413


def test_a_client_that_asks_first_sends_no_body_that_would_be_refused(town) -> None:
    head = b"POST /mill/grind HTTP/1.1\r\ncontent-type: application/json\r\nhost: localhost\r\n"
    answer = said(town, head + b"expect: 100-continue\r\ncontent-length: 999999\r\n\r\n")
    assert status(answer) == 413


def test_a_line_break_in_an_answers_header_can_not_be_smuggled_in(town) -> None:
    answer = said(town, b"GET /mill%0d%0ax-smuggled:%201 HTTP/1.1\r\n" + CLOSE)
    assert b"\r\nx-smuggled" not in answer


def test_requests_sent_together_are_answered_in_their_order(town) -> None:
    one = b"GET /bakery/bread?grain=%s HTTP/1.1\r\nhost: localhost\r\n\r\n"
    last = b"GET /bakery/bread?grain=last HTTP/1.1\r\n" + CLOSE
    answer = said(town, b"".join(one % b"g%d" % n for n in range(20)) + last)
    texts = re.findall(rb'"text":"(\w+)"', answer)
    assert texts == [*[b"g%d" % n for n in range(20)], b"last"]


def test_the_body_of_an_upgrade_is_never_read_as_a_request(town) -> None:
    hidden = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
    head = b"POST /mill/grind HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\n"
    with _wire(town) as wire:
        wire.sendall(head + b"content-length: %d\r\n\r\n" % len(hidden))
        first = wire.recv(65_536)
        answer = first
        try:
            wire.sendall(hidden)
            while piece := wire.recv(65_536):
                answer += piece
        except OSError:
            pass  # closed already
    assert status(first) == 400
    assert answer.count(b"HTTP/1.1 ") == 1


def test_requests_sent_ahead_without_end_are_cut_off(town) -> None:
    before_mb = _memory_mb(town)
    with _wire(town) as wire:
        try:
            wire.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" * 100_000)
            while wire.recv(65_536):
                pass
        except OSError:
            pass
    assert _memory_mb(town) - before_mb < 20


def test_a_body_that_is_too_large_is_told_so_even_while_it_is_sent(town) -> None:
    url = urlsplit(town.file.http)
    for _ in range(5):
        with closing(HTTPConnection(url.hostname, url.port, timeout=20)) as connection:
            headers = {"content-type": "application/json"}
            connection.request("POST", "/mill/grind", b"x" * 20_000_000, headers)
            assert connection.getresponse().status == 413


def test_a_body_that_dribbles_after_its_refusal_is_cut_off(town) -> None:
    head = b"POST /nosuch HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n"
    with _wire(town) as wire:
        wire.sendall(head)
        assert status(wire.recv(65_536)) == 404
        wire.sendall(b"x")
        wire.settimeout(10)
        while wire.recv(65_536):
            pass


def test_a_connection_that_is_kept_ready_is_closed_without_a_word(town) -> None:
    """A browser would take a reply for the answer to the request that it is about to send."""
    with _wire(town) as wire:
        assert wire.recv(65_536) == b""


def test_no_server_is_named(town) -> None:
    assert b"\r\nserver:" not in said(town, b"GET /healthz HTTP/1.1\r\n" + CLOSE).lower()
