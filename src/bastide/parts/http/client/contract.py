"""What a user of the client sees: its errors, options and answers.

Refusal
 ├── Invalid            RequestWrong        what was asked for can't be sent
 └── Unavailable        the `outcome` tells: 'none', nothing was sent; 'unknown', it may be done
      ├── ConnectFailed      none     502   no such name, refused, TLS
      ├── CircuitOpen        none     503   calls there have failed; `retry_after_s`
      ├── PoolFull           none     503   too many wait for a connection already
      ├── ConnectionLost     unknown  502   closed before the answer was whole
      │    └── ConnectionStale        502   a kept one, before the first byte of an answer
      ├── AnswerWrong        unknown  502   it is not HTTP, or can be read in two ways
      │    └── AnswerTooLarge         502
      └── TimedOut                    504
           ├── ConnectLate   none
           ├── PoolLate      none
           ├── WriteLate     unknown
           ├── FirstByteLate unknown
           ├── ReadLate      unknown
           └── TotalLate     either
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Protocol, TypeAlias

from msgspec import Meta, Struct

from bastide.base.errors import Invalid, Unavailable
from bastide.parts.http.core.breaker import BreakerRules
from bastide.parts.http.core.outliers import OutlierRules
from bastide.parts.http.core.retries import RetryRules

Seconds = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
Body: TypeAlias = bytes | AsyncIterator[bytes] | None


class RequestWrong(Invalid):
    """A method, address or header that would be read as something else, or not at all."""


class ConnectFailed(Unavailable):
    status = 502


class CircuitOpen(Unavailable):
    """Too many calls to this origin failed. The next is let through after `retry_after_s`."""

    def __init__(self, message: str, *, retry_after_s: float, outcome: str = "none") -> None:
        super().__init__(message, outcome=outcome)
        self.facts = {**self.facts, "retry_after_s": retry_after_s}
        self.retry_after_s = retry_after_s


class PoolFull(Unavailable):
    """More wait for a connection than `waiting_max`."""


class ConnectionLost(Unavailable):
    status = 502


class ConnectionStale(ConnectionLost):
    """A kept connection was closed before anything came back: most likely the other side had closed
    it while it was idle. What is idempotent is asked again by the client itself.
    """


class AnswerWrong(Unavailable):
    status = 502


class AnswerTooLarge(AnswerWrong):
    """Its head or its body is over the limit."""


class TimedOut(Unavailable):
    status = 504


class ConnectLate(TimedOut):
    """Name, connection and TLS took more than `connect_s`."""


class PoolLate(TimedOut):
    """No connection became free within `pool_s`."""


class WriteLate(TimedOut):
    """The other side took nothing of the request for `write_s`."""


class FirstByteLate(TimedOut):
    """No head of an answer within `first_byte_s` after the request was sent."""


class ReadLate(TimedOut):
    """Nothing of the body came for `read_s`."""


class TotalLate(TimedOut):
    """It was not done within `total_s`, with all its attempts."""


class Timeouts(Struct, frozen=True, kw_only=True):
    """The longest waits of each phase. `total_s` is for all of them, retries and the body of the
    answer included; None for answers that go on for ever.
    """

    connect_s: Seconds = 2.0
    pool_s: Seconds = 2.0
    write_s: Seconds = 10.0
    first_byte_s: Seconds = 10.0
    read_s: Seconds = 10.0
    total_s: Seconds | None = 60.0


class PoolLimits(Struct, frozen=True, kw_only=True):
    """Connections, busy and idle ones together. Servers keep theirs for a minute or so: who closes
    first asks nobody twice.
    """

    connections_max: Count = 200
    connections_of_one_origin: Count = 50
    waiting_max: Count = 10_000
    idle_s: Seconds = 30.0
    age_s: Seconds = 600.0


class ClientOptions(Struct, frozen=True, kw_only=True):
    """`endpoints` gives origins, as in "http://shop", their addresses: "10.0.0.7:80", "[::1]:80",
    "unix:/run/shop.sock". `via` is one address for all other origins; without it, theirs is what
    their name resolves to. TLS is checked against the origin's name, whatever the address.
    """

    name: str = "http"  # the client's, in metrics
    timeouts: Timeouts = Timeouts()
    pool: PoolLimits = PoolLimits()
    retries: RetryRules = RetryRules()
    breaker: BreakerRules = BreakerRules()
    outliers: OutlierRules = OutlierRules()
    endpoints: Mapping[str, Sequence[str]] = {}
    via: str = ""
    answer_bytes_max: Count = 16 << 20
    head_bytes_max: Count = 64 << 10


class Answer(Struct, frozen=True):
    """`headers` in the order in which they came, with names in lower case. The body is as it was
    sent: a content-encoding is not undone.
    """

    status: int
    headers: Headers
    body: bytes = b""

    def header(self, name: bytes) -> bytes | None:
        """The first value of `name`, in whatever case."""
        return first_value(self.headers, name)


class StreamedAnswer(Protocol):
    """An answer whose body is still on its way."""

    status: int
    headers: Headers

    def header(self, name: bytes) -> bytes | None:
        """The first value of `name`, in whatever case."""

    def pieces(self) -> AsyncIterator[bytes]:
        """The body, as it comes, once. While nobody takes a piece the connection is not read, so
        that the other side has to wait.

        Raises:
            ReadLate, TotalLate, ConnectionLost, AnswerWrong: what came before may be cut short.
        """
        ...


def first_value(headers: Headers, name: bytes) -> bytes | None:
    wanted = name.lower()
    return next((value for given, value in headers if given == wanted), None)
