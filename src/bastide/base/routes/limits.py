"""How much of a request is taken, whatever server is below. Each figure is a setting of the town:
`BASTIDE_HTTP_HEADERS` and so on.
"""

from typing import Annotated

from msgspec import Meta, Struct

Bytes = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=1)]


class HeadLimits(Struct, frozen=True):
    target_bytes: Annotated[Bytes, Meta(description="path and query of a request; over it 414")] = (
        8 * 1024
    )
    headers: Annotated[Count, Meta(description="headers of a request; over it 431")] = 100
    header_bytes: Annotated[
        Bytes, Meta(description="names and values of a request's headers; over it 431")
    ] = 32 * 1024
    body_bytes: Annotated[
        Bytes, Meta(description="a body, whatever its door would take; over it 413")
    ] = 1 << 30
