"""Asks other servers: connections are kept, waits end, and an outage is not made worse.

    async with Client(ClientOptions()) as client:
        answer = await client.request("GET", "http://shop:8080/prices")
        async with client.stream("GET", "http://shop:8080/export") as answer:
            async for piece in answer.pieces(): ...

    request ──> breaker ──> pool ──> connection ──> head ──> body
       ^                                  │           │
       └── pause <── budget <── never sent, or stale, or a status that was asked for

Nothing is automatic but Host and the length: no redirects, cookies, encodings or trace headers. A
`traceparent` that is handed in is sent on as it is.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from bastide.base.rt import runtime
from bastide.base.work import jittered
from bastide.parts.http.client.addresses import checked
from bastide.parts.http.client.asking import Asked, asked
from bastide.parts.http.client.contract import (
    Answer,
    AnswerWrong,
    Body,
    ClientOptions,
    ConnectFailed,
    ConnectionLost,
    ConnectionStale,
    ConnectLate,
    FirstByteLate,
    Headers,
    StreamedAnswer,
    Timeouts,
    TotalLate,
    WriteLate,
)
from bastide.parts.http.client.dialling import Dialler
from bastide.parts.http.client.exchange import Exchange, give_back
from bastide.parts.http.client.origins import Attempt, Standing, Standings
from bastide.parts.http.client.patience import Patience
from bastide.parts.http.client.pool import Held, Pool
from bastide.parts.http.client.reading import Head
from bastide.parts.http.core.retries import backoff_s, retry_after_s

SICK = frozenset((502, 503, 504))  # the server says itself that it can't answer
FAULTS = (ConnectFailed, ConnectLate, ConnectionLost, AnswerWrong, WriteLate, FirstByteLate)


class Client:
    """Used within `async with`. What is in flight when the block ends is ended."""

    def __init__(
        self, options: ClientOptions | None = None, *, tls: ssl.SSLContext | None = None
    ) -> None:
        """
        Raises:
            RequestWrong: an origin or address of the options can't be read.
        """
        self._options = checked(options or ClientOptions())
        self._standings = Standings(self._options)
        dialler = Dialler(tls, head_bytes_max=self._options.head_bytes_max)
        self._dial = dialler.dial

    async def __aenter__(self) -> Self:
        self._pool = pool = Pool(self._options.pool, self._dial)
        self._metrics = runtime.current().metrics
        self._retries = self._metrics.counter(
            "bastide_http_client_retries_total",
            "Requests to other servers that were sent once more.",
            client=self._options.name,
        )
        self._metrics.gauge(
            "bastide_http_client_connections",
            "Connections to other servers, busy and kept.",
            lambda: pool.connections,
            client=self._options.name,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Headers = (),
        body: Body = None,
        idempotent: bool | None = None,
        timeouts: Timeouts | None = None,
        continue_s: float | None = None,
        answer_bytes_max: int | None = None,
    ) -> Answer:
        """The whole answer, whatever its status. Arguments as for `stream`; a body of more than
        `answer_bytes_max` bytes is refused.

        Raises:
            What `stream` raises. AnswerTooLarge.
        """
        asking = asked(method, url, headers, body, idempotent=idempotent, continue_s=continue_s)
        patience = Patience(timeouts or self._options.timeouts)
        exchange = await self._begun(asking, patience)
        try:
            if answer_bytes_max is None:
                answer_bytes_max = self._options.answer_bytes_max
            whole = await exchange.whole(answer_bytes_max)
            return Answer(exchange.status, exchange.headers, whole)
        finally:
            await exchange.end()

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Headers = (),
        body: Body = None,
        idempotent: bool | None = None,
        timeouts: Timeouts | None = None,
        continue_s: float | None = None,
    ) -> AsyncIterator[StreamedAnswer]:
        """The answer as soon as its head is there. If the block ends before its body was read, the
        connection is closed.

        A `body` that is an iterator is sent in chunks, or as it is if the headers have a
        content-length; it can be given only once. `idempotent` is known of GET, HEAD, OPTIONS, PUT
        and DELETE, and can be told of others: such a request is sent once more if a kept connection
        turns out to be closed, or on a status of `retries.statuses`. What was never sent is sent
        once more in any case. With `continue_s` the body is sent once the server asks for it
        (Expect: 100-continue), or after so many seconds.

        Raises:
            RequestWrong. CircuitOpen, ConnectFailed, PoolFull, ConnectionLost, AnswerWrong, or the
            TimedOut of a phase; their `outcome` tells whether something can have been done.
        """
        asking = asked(method, url, headers, body, idempotent=idempotent, continue_s=continue_s)
        patience = Patience(timeouts or self._options.timeouts)
        exchange = await self._begun(asking, patience)
        try:
            yield exchange
        finally:
            await exchange.end()

    async def _begun(self, asking: Asked, patience: Patience) -> Exchange:
        """Counted by how it ended: the head of an answer is here, or it failed."""
        outcome = "answered"
        try:
            return await self._tried(asking, patience)
        except BaseException as error:
            outcome = type(error).__name__
            raise
        finally:
            self._metrics.counter(
                "bastide_http_client_requests_total",
                "Requests to other servers, by how they ended.",
                client=self._options.name,
                outcome=outcome,
            ).add()

    async def _tried(self, asking: Asked, patience: Patience) -> Exchange:
        standing = self._standings.of(asking.origin)
        standing.budget.earn()
        number, fresh = 1, False
        while True:
            try:
                exchange = await self._once(standing, asking, patience, fresh=fresh)
            except ConnectionStale:  # no fault of the server: at once, and on a new connection
                if not asking.may_be_repeated:
                    raise
                fresh, pause_s = True, 0.0
            except (ConnectFailed, ConnectLate):
                pause = self._pause_s(standing, number, patience, asked_s=0.0)
                if pause is None:
                    raise
                number, pause_s = number + 1, pause
            else:
                pause = self._pause_after(exchange, asking, standing, number, patience)
                if pause is None:
                    return exchange
                await exchange.end()
                number, pause_s = number + 1, pause
            self._retries.add()
            await asyncio.sleep(pause_s)

    def _pause_after(
        self,
        exchange: Exchange,
        asking: Asked,
        standing: Standing,
        number: int,
        patience: Patience,
    ) -> float | None:
        """Before it is asked again; None if this is the answer."""
        rules = self._options.retries
        if exchange.status not in rules.statuses or not asking.may_be_repeated:
            return None
        asked_s = retry_after_s(exchange.header(b"retry-after"), runtime.now_ms())
        if asked_s > rules.retry_after_max_s:
            return None  # sooner than it said is what it asked us not to do
        return self._pause_s(standing, number, patience, asked_s=asked_s)

    def _pause_s(
        self, standing: Standing, number: int, patience: Patience, *, asked_s: float
    ) -> float | None:
        """After attempt `number`; None if there shall be no other."""
        rules = self._options.retries
        pause_s = max(jittered(backoff_s(rules, number)), asked_s)
        if number >= rules.attempts or pause_s >= patience.left_s or not standing.budget.spend():
            return None
        return pause_s

    async def _once(
        self, standing: Standing, asking: Asked, patience: Patience, *, fresh: bool
    ) -> Exchange:
        attempt = Attempt(standing, patience)
        try:
            head, held = await self._asked(attempt, asking, patience, fresh=fresh)
        except BaseException as error:
            if _is_its_fault(error):
                attempt.failed()
            attempt.over()
            raise
        if head.status in SICK:
            attempt.failed()
        else:
            attempt.succeeded()
        return Exchange(head, held=held, pool=self._pool, attempt=attempt, patience=patience)

    async def _asked(
        self, attempt: Attempt, asking: Asked, patience: Patience, *, fresh: bool
    ) -> tuple[Head, Held]:
        held = await self._pool.acquire(asking.origin, attempt.choose, patience, fresh=fresh)
        try:
            return await held.connection.ask(asking, patience), held
        except BaseException:
            await give_back(held, self._pool)
            raise


def _is_its_fault(error: BaseException) -> bool:
    """The server's. A pool that is full, or a body that can't be sent, tells nothing of it."""
    if isinstance(error, TotalLate):
        return error.outcome == "unknown"
    return isinstance(error, FAULTS) and not isinstance(error, ConnectionStale)
