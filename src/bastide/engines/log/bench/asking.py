"""Kafka's requests, and what a broker answers, by the codec of our own door."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bastide.base.errors import Unavailable
from bastide.base.manifest import load
from bastide.engines.log.core.batches import header_of
from bastide.parts.http.bench.servers import HOST

CODEC = "bastide.engines.log.wire.codec"
VERSIONS = {"metadata": 4, "produce": 7, "fetch": 7}
PLACES = {"metadata": "cluster", "produce": "records", "fetch": "records"}
FRAME_BYTES_MAX = 100 << 20
READ_AHEAD_BYTES = 4 << 20
TIMEOUT_MS = 20_000
LATER, NOW = 1, -1  # acks: it survives the process; a power cut


def metadata_request(topic: str) -> bytes:
    """Which makes the topic."""
    return _request("metadata", {"topics": [{"name": topic}]})


def produce_request(topic: str, batch: bytes, *, acks: int) -> bytes:
    """To the first partition."""
    partition = {"index": 0, "records": batch}
    topics = [{"name": topic, "partition_data": [partition]}]
    return _request("produce", {"acks": acks, "timeout_ms": TIMEOUT_MS, "topic_data": topics})


def fetch_request(topic: str, offset: int, *, bytes_max: int, wait_ms: int) -> bytes:
    """From the first partition; as soon as there is a byte."""
    partition = {"partition": 0, "fetch_offset": offset, "partition_max_bytes": bytes_max}
    body = {
        "max_wait_ms": wait_ms,
        "min_bytes": 1,
        "max_bytes": bytes_max,
        "isolation_level": 0,
        "session_id": 0,
        "topics": [{"topic": topic, "partitions": [partition]}],
        "forgotten_topics_data": [],
    }
    return _request("fetch", body)


def fetched(frame: bytes) -> bytes:
    """The batches, one behind the other.

    Raises:
        Unavailable: it was refused.
    """
    (row,) = _body(frame, "fetch")["responses"][0]["partitions"]
    _check(row)
    return bytes(row["records"])


def check_produced(frame: bytes) -> None:
    """
    Raises:
        Unavailable: it was refused.
    """
    (row,) = _body(frame, "produce")["responses"][0]["partition_responses"]
    _check(row)


def frames() -> Any:
    """Of one connection: `feed` gives those that are whole."""
    return load(f"{CODEC}.frames:Frames")(frame_bytes_max=FRAME_BYTES_MAX)


def _api(name: str) -> Any:
    return load(f"{CODEC}.messages.{PLACES[name]}:{name.upper()}")


def _request(name: str, body: dict[str, Any]) -> bytes:
    encode = load(f"{CODEC}.calls:encode_request")
    request: bytes = encode(_api(name), VERSIONS[name], 1, "bench", body)
    return request


def _body(frame: bytes, name: str) -> dict[str, Any]:
    decode = load(f"{CODEC}.calls:decode_response")
    body: dict[str, Any] = decode(frame, _api(name), VERSIONS[name]).body
    return body


def _check(row: dict[str, Any]) -> None:
    if row["error_code"]:
        raise Unavailable(f"the broker has refused: {row}")


def batches_in(data: bytes) -> list[bytes]:
    """A broker cuts none off here."""
    found, at = [], 0
    while at < len(data):
        size = header_of(data, at).size
        found.append(data[at : at + size])
        at += size
    return found


class Asker:
    """A connection on which one asks and waits; or sends, and waits elsewhere."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    @asynccontextmanager
    async def connected(cls, port: int) -> AsyncIterator["Asker"]:
        reader, writer = await asyncio.open_connection(HOST, port, limit=READ_AHEAD_BYTES)
        try:
            yield cls(reader, writer)
        finally:
            writer.transport.abort()

    async def ask(self, request: bytes) -> bytes:
        self.send(request)
        return await self.answer()

    def send(self, request: bytes) -> None:
        self._writer.write(request)

    async def answer(self) -> bytes:
        """A frame, without its length."""
        size = int.from_bytes(await self._reader.readexactly(4), "big")
        return await self._reader.readexactly(size)
