"""When the server gives a connection up, and how much it takes at once.

Every figure is a setting of the town, `BASTIDE_HTTP_<NAME>`. Over one of them a client reads the
status that is named, where a status can be sent, and its connection is closed; no other connection
is touched. Times are looked at about once a second, so they are kept to a second or two.
"""

from typing import Annotated

from msgspec import Meta

from bastide.base.routes.limits import Bytes, Count, HeadLimits

HTTP_PREFIX = "BASTIDE_HTTP"

Seconds = Annotated[float, Meta(gt=0)]


class Limits(HeadLimits, frozen=True):
    first_byte_s: Annotated[
        Seconds, Meta(description="from connecting to the first byte; then it is closed")
    ] = 30.0
    head_s: Annotated[Seconds, Meta(description="for a head, from its first byte; over it 408")] = (
        10.0
    )
    body_s: Annotated[
        Seconds, Meta(description="before a body must keep to its least rate; over it 408")
    ] = 10.0
    body_rate: Annotated[
        Bytes, Meta(description="least bytes a second of a body; below it 408")
    ] = 256
    idle_s: Annotated[Seconds, Meta(description="between two requests; then it is closed")] = 75.0
    stall_s: Annotated[
        Seconds, Meta(description="in which a client takes nothing of its reply; it is cut off")
    ] = 60.0
    requests: Annotated[
        Count, Meta(description="requests of one connection, which is closed behind the last")
    ] = 1_000_000
    pipelined: Annotated[
        Count, Meta(description="requests sent ahead of their replies; over it it is cut off")
    ] = 256
    connections: Annotated[Count, Meta(description="connections in all; over it 503")] = 20_000
    connections_of_one: Annotated[
        Count, Meta(description="connections of one address; over it 429")
    ] = 10_000
    in_flight: Annotated[
        Count, Meta(description="requests that wait for something; over it 503")
    ] = 10_000
    ping_s: Annotated[Seconds, Meta(description="between two pings of a WebSocket")] = 20.0
    pong_s: Annotated[
        Seconds, Meta(description="of silence behind a ping; then the WebSocket is cut")
    ] = 20.0
    close_s: Annotated[
        Seconds, Meta(description="for a WebSocket's client to close, and for its handler to end")
    ] = 5.0
    frame_bytes: Annotated[
        Bytes, Meta(description="one frame of a WebSocket; over it closed with 1009")
    ] = 1 << 20
    message_bytes: Annotated[
        Bytes, Meta(description="one message of a WebSocket, unpacked; over it closed with 1009")
    ] = 4 << 20


class HttpSettings(Limits, frozen=True):
    """What `BASTIDE_HTTP_*` says of the town's server."""

    unix: Annotated[
        str, Meta(description="path of a Unix socket where the main address answers too")
    ] = ""
    reuse_port: Annotated[
        bool, Meta(description="share the ports with other processes (SO_REUSEPORT)")
    ] = False
    proxy_protocol: Annotated[
        bool, Meta(description="every connection begins with a PROXY header, version 2: believed")
    ] = False
