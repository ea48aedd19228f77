"""How an upgrade is refused, and how long a socket waits. What a handler sees of it, the `Socket`,
is with the rows of routes, which do not know who serves them.

Refusal
 ├── Invalid      UpgradeWrong     the request is no opening handshake, or a broken one
 │                 └── VersionWrong    426, with the version that is spoken
 │                CloseWrong       no such code may be sent, or the reason is too long
 └── Denied       OriginRefused    a page of another site asks
"""

from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, ClassVar, TypeAlias

from msgspec import Meta, Struct

from bastide.base.errors import Denied, Invalid
from bastide.base.routes.rows import Socket
from bastide.parts.http.contract import Seconds

VERSION = "13"


class UpgradeWrong(Invalid):
    """The handshake lacks something, or says it wrongly (RFC 6455, 4.2.1)."""


class VersionWrong(UpgradeWrong):
    """RFC 6455, 4.2.2: the reply is 426 and `headers` tell which version is spoken."""

    status = 426
    title = "Another version of WebSocket is spoken here"
    headers: ClassVar[Mapping[str, str]] = {
        "upgrade": "websocket",
        "sec-websocket-version": VERSION,
    }


class OriginRefused(Denied):
    """A browser says that a page of another site opens this, with the visitor's cookies."""


class CloseWrong(Invalid):
    """A code that only the other side, or nobody, may send; or a reason over 123 bytes."""


class Pace(Struct, frozen=True):
    """How long a socket waits for the other side."""

    ping_s: Annotated[Seconds, Meta(description="between two pings of a WebSocket")] = 20.0
    pong_s: Annotated[Seconds, Meta(description="of silence after a ping; then it is cut")] = 20.0
    close_s: Annotated[
        Seconds, Meta(description="for the other side to close, and for a handler to end; cut")
    ] = 5.0


Handler: TypeAlias = Callable[[Socket], Coroutine[object, None, None]]
