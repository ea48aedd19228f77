"""The group: how it stands, who belongs to it, and all that it keeps as one file."""

from collections.abc import AsyncGenerator

from bastide.base.routes.rows import Stream
from bastide.engines.coord.api.shapes import (
    LeaderGiven,
    MemberAdded,
    MemberGiven,
    StandingShown,
    number_of,
    standing_shown,
)
from bastide.engines.coord.service.operator import Operator
from bastide.engines.coord.service.serving import Serving

_FILE = {"content-type": "application/octet-stream", "cache-control": "no-store"}


async def read_standing(serving: Serving) -> StandingShown:
    """How the group stands, as this node sees it."""
    return standing_shown(await Operator(serving.node).group())


async def add_member(serving: Serving, body: MemberGiven) -> MemberAdded:
    """A new member, which is to be started then; a learner keeps a copy and does not vote yet."""
    number = await serving.node.add_member(body.name, body.peer_address, is_learner=body.is_learner)
    return MemberAdded(str(number))


async def remove_member(serving: Serving, id: str) -> None:  # noqa: A002 (the path's word)
    await serving.node.remove_member(number_of(id, "member"))


async def promote_member(serving: Serving, id: str) -> None:  # noqa: A002 (the path's word)
    """A learner votes from here on."""
    await serving.node.promote_member(number_of(id, "member"))


async def transfer_leadership(serving: Serving, body: LeaderGiven) -> None:
    """Another member leads; the answer comes when it does."""
    await serving.node.transfer(number_of(body.member, "member"))


async def read_snapshot(serving: Serving) -> Stream:
    """All that is kept, accounts and history too, with its checksum: what `restore` takes."""
    await serving.node.health()  # or it is refused
    return Stream(_pieces(serving), headers=_FILE)


async def _pieces(serving: Serving) -> AsyncGenerator[bytes, None]:
    async for piece in serving.node.snapshot():
        yield piece
