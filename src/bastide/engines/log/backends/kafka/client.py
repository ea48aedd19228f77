"""librdkafka, as this engine uses it: settings, threads, its errors as ours.

librdkafka has threads of its own for the network. What it has to say is fetched by calls that wait,
so each of its clients gets one thread here that makes them, and hands over to the loop.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Literal, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from bastide.base.errors import Invalid
from bastide.base.rt import runtime
from bastide.base.settings import BackendUrl
from bastide.engines.log.contract import LogAway
from bastide.engines.log.model import KafkaOptions

T = TypeVar("T")
Config = Mapping[str, object]
Outcome = Literal["none", "unknown"]

BATCH_BYTES_MAX = 2 << 20  # of records that travel together; one of the largest fits
PORT = "9092"
SOON_S = 0.05
SOON = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.NOT_COORDINATOR,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
}
SILENCE = 0  # of syslog's levels
GRACE_S = 1.0  # how much longer we wait than librdkafka should take


class Cluster:
    """Where it is, and how it is spoken to."""

    def __init__(self, url: BackendUrl, options: KafkaOptions) -> None:
        self.options = options
        self._servers = _servers(url)

    def config(self, **more: object) -> dict[str, object]:
        """Of any client. A name of librdkafka's has `_` here for `.`. It logs nothing: a line for
        each try of each client tells no more than the errors that come of it.
        """
        within_ms = round(self.options.timeout_s * 1000)
        found: dict[str, object] = {
            "bootstrap.servers": self._servers,
            "client.id": "bastide",
            "log_level": SILENCE,
            "socket.timeout.ms": within_ms + round(GRACE_S * 1000),
            "socket.connection.setup.timeout.ms": max(1000, within_ms),
            "reconnect.backoff.max.ms": 1000,
            "topic.metadata.refresh.interval.ms": 10_000,
        }
        return found | {_dotted(name): value for name, value in more.items()}


def _dotted(name: str) -> str:
    return name if name.endswith("_cb") else name.replace("_", ".")


def _servers(url: BackendUrl) -> str:
    """
    Raises:
        Invalid: no server is named, or something that is not spoken here.
    """
    expected = "kafka://host:port,host:port is expected"
    if "@" in url.location:
        raise Invalid(f"{url.safe}: {expected}; SASL and TLS are not spoken")
    names = url.location.split(",")
    if not all(names) or "/" in url.location:
        raise Invalid(f"{url.safe}: {expected}")
    return ",".join(name if _has_port(name) else f"{name}:{PORT}" for name in names)


def _has_port(name: str) -> bool:
    return ":" in name.rpartition("]")[2]


# --- threads --------------------------------------------------------------------------------------


class Worker:
    """One thread, that makes one call after the other; so one client is never called by two.

    A daemon: a call that hangs holds up nobody's end.
    """

    def __init__(self, name: str) -> None:
        self._asked: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        Thread(target=self._serve, name=name, daemon=True).start()

    async def run(self, call: Callable[[], T]) -> T:
        """What it returns or raises. It goes on if who waits is cancelled."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def run() -> None:
            try:
                result = call()
            except Exception as error:
                tell_soon(loop, future, error=error)
            else:
                tell_soon(loop, future, result=result)

        self._asked.put(run)
        return await future

    def stop(self) -> None:
        """When it has done what it was asked for."""
        self._asked.put(None)

    def _serve(self) -> None:
        while (call := self._asked.get()) is not None:
            call()


def tell_soon(
    loop: asyncio.AbstractEventLoop,
    future: "asyncio.Future[T]",
    *,
    result: T | None = None,
    error: Exception | None = None,
) -> None:
    """From another thread."""
    with suppress(RuntimeError):  # the loop was closed: nobody waits
        loop.call_soon_threadsafe(_tell, future, result, error)


def _tell(future: "asyncio.Future[T]", result: T | None, error: Exception | None) -> None:
    if future.done():  # who waited was cancelled
        return
    if error is None:
        future.set_result(result)  # type: ignore[arg-type] # None, if that is what was returned
    else:
        future.set_exception(error)


# --- errors ---------------------------------------------------------------------------------------


async def patient(ask: Callable[[], Awaitable[T]], within_s: float) -> T:
    """Asks again while Kafka says that who would know is just being chosen."""
    until_s = runtime.monotonic() + within_s
    while True:
        try:
            return await ask()
        except KafkaException as error:
            if code_of(error) not in SOON or runtime.monotonic() > until_s:
                raise
        await asyncio.sleep(SOON_S)


async def answered(asked: Awaitable[T], within_s: float, outcome: Outcome = "none") -> T:
    """
    Raises:
        LogAway: it refused, or did not answer `within_s`.
    """
    try:
        async with asyncio.timeout(within_s):
            return await asked
    except KafkaException as error:
        raise away(error_of(error), outcome) from error
    except TimeoutError as error:
        raise LogAway(f"Kafka did not answer within {within_s} s", outcome=outcome) from error


def check_each(found: Sequence[TopicPartition]) -> None:
    """
    Raises:
        KafkaException: that of a partition.
    """
    for one in found:
        if one.error is not None:
            raise KafkaException(one.error)


def error_of(error: KafkaException) -> KafkaError:
    found = error.args[0]
    assert isinstance(found, KafkaError)
    return found


def code_of(error: KafkaException) -> int:
    return int(error_of(error).code())


def away(error: KafkaError, outcome: Outcome = "none") -> LogAway:
    return LogAway(f"Kafka: {error.name()}: {error.str()}", outcome=outcome)
