"""How the system is set, and the lease that it holds."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bastide.base.errors import Invalid

ANY_WORKER = -1

LayoutName = Literal["bastide", "twitter", "instagram"]
OnBackwardClock = Literal["continue", "refuse"]


class Settings(msgspec.Struct, frozen=True):
    layout: Annotated[
        LayoutName,
        Meta(
            description="what the bits of an id mean: bastide and twitter are 41 of time, 10 of "
            "worker, 12 of sequence, from 2024 and from 2010; instagram 40, 13 and 10, from 2011; "
            "a database keeps the one it began with"
        ),
    ] = "bastide"
    worker: Annotated[
        int,
        Meta(
            ge=ANY_WORKER,
            description="the worker id of this process, where something outside hands them out, "
            "as a StatefulSet its ordinals; -1: any free one is leased",
        ),
    ] = ANY_WORKER
    on_backward_clock: Annotated[
        OnBackwardClock,
        Meta(
            description="continue: go on from the last id's millisecond; refuse: make no ids until "
            "the clock has caught up"
        ),
    ] = "continue"
    fence_ahead_ms: Annotated[
        int,
        Meta(
            ge=200,
            le=60_000,
            description="how far ahead of the clock the lease is persisted; it is extended twice "
            "in that time",
        ),
    ] = 2_000
    margin_ms: Annotated[
        int,
        Meta(
            ge=0,
            le=86_400_000,
            description="how long a lease must have lain behind before its worker id is taken "
            "from its holder",
        ),
    ] = 10_000


class SettingWrong(Invalid):
    """A setting does not fit the layout, or what the database began with. It ends the start."""


class Lease(msgspec.Struct, frozen=True):
    """Held: ids of `worker` above `floor_ms`, up to `fence_ms`."""

    worker: int
    holder: str
    floor_ms: int
    fence_ms: int
