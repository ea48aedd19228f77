"""A Kafka broker for the tests of any Python project: no JVM, no container, a tenth of a second.

from bastide.testing.kafka import kafka  # in conftest.py: a pytest fixture, one broker a session


def test_orders(kafka):
    producer = confluent_kafka.Producer({"bootstrap.servers": kafka.address})

It runs in a thread of its own, in memory or in a directory, and is gone with the test.
"""

import asyncio
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from bastide.base.rt.net import bind
from bastide.engines.log.wire.server import open_kafka
from bastide.town import open_town

START_S = 10.0


class Kafka(msgspec.Struct, frozen=True):
    """A broker that runs. `address` is what clients call a bootstrap server."""

    address: str


@contextmanager
def running_kafka(
    directory: Path | None = None, environ: Mapping[str, str] | None = None
) -> Iterator[Kafka]:
    """A broker on a free port of this machine. `directory` keeps what it has; without one it has
    it in memory. `environ`: settings of the log, BASTIDE_LOG_*.

    Raises:
        Invalid: a setting is wrong.
    """
    url = "file://" if directory else "memory://"
    settings = {"BASTIDE_LOG_URL": url, **(environ or {})}
    began: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, str]] = Future()

    async def serve() -> None:
        try:
            async with open_town(["log"], settings, data=directory) as town:
                listener = bind("127.0.0.1", 0)
                host, port = listener.getsockname()[:2]
                async with open_kafka(town.behind_wire("log"), [listener]):  # type: ignore[arg-type] # both schemes serve
                    stop = asyncio.Event()
                    began.set_result((asyncio.get_running_loop(), stop, f"{host}:{port}"))
                    await stop.wait()
        except BaseException as error:
            if began.done():
                raise
            began.set_exception(error)

    with ThreadPoolExecutor(1, thread_name_prefix="kafka") as thread:
        running = thread.submit(asyncio.run, serve())
        loop, stop, address = began.result(START_S)
        try:
            yield Kafka(address)
        finally:
            loop.call_soon_threadsafe(stop.set)
            running.result()


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """One for all tests: give topics and groups names of their own."""
    with running_kafka() as running:
        yield running
