"""What a user of the client sees: its errors, limits and options.

Refusal
 ├── Invalid      LocationWrong
 └── Unavailable  ServerAway     outcome: none, or unknown if the command may have been run

ServerRefused  the server's own error, to be translated by whoever sent the command
"""

from collections.abc import Sequence
from typing import Annotated, TypeAlias

import msgspec

from bastide.base.errors import Invalid, Unavailable

CALLS_MAX = 50_000  # waiting for their replies, on one connection
UNSENT_BYTES_MAX = 64 << 20  # not yet taken by the socket, on one connection

Word: TypeAlias = bytes | str | int | float

Seconds = Annotated[float, msgspec.Meta(gt=0, le=60)]


class LocationWrong(Invalid):
    """A URL's hosts, port or database can't be read."""


class ServerAway(Unavailable):
    """Nobody answers there, or not within `timeout_s`; or more waits than the limits allow."""


class ServerRefused(Exception):
    """An error reply. Its message begins with a code in capitals: WRONGTYPE, ERR, NOSCRIPT."""


class RedisOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`redis://host?timeout_s=0.5`."""

    timeout_s: Annotated[Seconds, msgspec.Meta(description="longest wait for a reply")] = 0.25
    connect_s: Annotated[Seconds, msgspec.Meta(description="longest wait for a connection")] = 1.0


class Address(msgspec.Struct, frozen=True):
    """One server."""

    host: str
    port: int
    user: str = ""
    password: str = ""
    database: int = 0

    @property
    def name(self) -> str:
        """Without its secrets: what rings, logs and errors call it."""
        return f"{self.host}:{self.port}/{self.database}"


Command: TypeAlias = Sequence[Word]
