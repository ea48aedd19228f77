"""What the HTTP doors take and give, as JSON."""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from bastide.base.errors import Invalid
from bastide.base.tx import PAGE_ITEMS_MAX
from bastide.engines.coord.contract import Event, Events, Item, Lease
from bastide.engines.coord.service.operator import (
    UNKNOWN_S,
    WAIT_S_MAX,
    GroupSeen,
    Kind,
    NodeSeen,
    PlaceSeen,
    QueueSeen,
    Role,
)

Limit = Annotated[int, msgspec.Meta(ge=1, le=PAGE_ITEMS_MAX)]
Revision = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
WaitS = Annotated[float, msgspec.Meta(ge=0, le=WAIT_S_MAX)]
LeaseGiven = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{1,16}$")]


class KeyShown(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is no text has its bytes in `..._base64`. `created` and `changed` are revisions; a
    `version` of 0 says that it was deleted. `lease` as etcdctl writes it.
    """

    key: str | None = None
    key_base64: str | None = None
    value: str | None = None
    value_base64: str | None = None
    created: int
    changed: int
    version: int
    lease: str | None = None


class KeysShown(msgspec.Struct, frozen=True):
    """`count`: of all that begin so."""

    items: Sequence[KeyShown]
    next: str | None
    count: int
    revision: int


class HistoryShown(msgspec.Struct, frozen=True):
    """The newest first; go on `before` `next`. Older ones than `compacted` are forgotten."""

    items: Sequence[KeyShown]
    next: int | None
    compacted: int


class PutGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Key and value are text, or bytes as base64."""

    key: str | None = None
    key_base64: str | None = None
    value: str | None = None
    value_base64: str | None = None
    lease: LeaseGiven | None = None


class Done(msgspec.Struct, frozen=True):
    revision: int


class DeletedShown(msgspec.Struct, frozen=True):
    deleted: int
    revision: int


class ChangeShown(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`previous`: what was there before."""

    deleted: bool
    now: KeyShown
    previous: KeyShown | None = None


class ChangesShown(msgspec.Struct, frozen=True):
    """All of whole revisions; go on at revision `next`."""

    changes: Sequence[ChangeShown]
    next: int


class QueueShown(msgspec.Struct, frozen=True):
    """`queue` names it here; `first` holds or leads, and its `created` is the token. `client` is
    the system of the town whose it is.
    """

    kind: Kind
    name: str
    client: str | None
    queue: str
    first: KeyShown
    count: int


class LeaseShown(msgspec.Struct, frozen=True):
    """`left_s` null: no leader tells it now. Keys that are no text are shown with escapes."""

    id: str
    ttl_s: int
    left_s: float | None
    keys: Sequence[str]


class PlaceShown(msgspec.Struct, frozen=True):
    place: KeyShown
    lease: LeaseShown | None


class WaitersShown(msgspec.Struct, frozen=True):
    """In their order: the first holds or leads. Go on `after` `next`."""

    queue: QueueShown
    items: Sequence[PlaceShown]
    next: int | None


class EnterGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A place in the queue `name` for `lease`; `value` is what a candidate tells of itself."""

    name: str
    lease: LeaseGiven
    value: str = ""
    wait_s: WaitS = 0.0


class TurnShown(msgspec.Struct, frozen=True):
    """`token`: of the hold, once `is_first`."""

    key: str
    token: int
    is_first: bool


class GrantGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ttl_s: int
    id: LeaseGiven | None = None


class MemberGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    peer_address: str
    name: str = ""
    is_learner: bool = False


class MemberAdded(msgspec.Struct, frozen=True):
    id: str


class LeaderGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    member: str


class NodeShown(msgspec.Struct, frozen=True, kw_only=True):
    """Null: the node that is asked can't know. `kept`: how far its log is known to be the
    leader's.
    """

    id: str
    name: str
    role: Role
    is_learner: bool
    peer_address: str
    client_address: str
    term: int | None
    kept: int | None
    committed: int | None
    applied: int | None


class StandingShown(msgspec.Struct, frozen=True):
    """As `member` sees it; `leader` null: it knows of none."""

    cluster: str
    member: str
    leader: str | None
    term: int
    committed: int
    applied: int
    revision: int
    space_bytes: int
    nodes: Sequence[NodeShown]


def key_shown(item: Item) -> KeyShown:
    return KeyShown(
        created=item.created,
        changed=item.changed,
        version=item.version,
        lease=f"{item.lease:x}" if item.lease else None,
        **_shown(item.key, "key"),
        **_shown(item.value, "value"),
    )


def changes_shown(events: Events) -> ChangesShown:
    return ChangesShown([_change_shown(one) for one in events.events], events.revision + 1)


def _change_shown(event: Event) -> ChangeShown:
    previous = None if event.previous is None else key_shown(event.previous)
    return ChangeShown(deleted=event.is_delete, now=key_shown(event.item), previous=previous)


def queue_shown(seen: QueueSeen) -> QueueShown:
    first = key_shown(seen.first)
    queue = text_of(seen.prefix[:-1])
    return QueueShown(seen.kind, seen.name, seen.client or None, queue, first, seen.count)


def place_shown(seen: PlaceSeen) -> PlaceShown:
    lease = None if seen.lease is None else lease_shown(seen.lease)
    return PlaceShown(key_shown(seen.item), lease)


def lease_shown(lease: Lease) -> LeaseShown:
    left_s = None if lease.left_s == UNKNOWN_S else round(lease.left_s, 3)
    keys = [text_of(key) for key in lease.keys if not key.startswith(b"\0")]
    return LeaseShown(f"{lease.id:x}", lease.ttl_s, left_s, keys)


def standing_shown(seen: GroupSeen) -> StandingShown:
    standing = seen.standing
    return StandingShown(
        f"{standing.cluster:x}",
        str(standing.member),
        str(standing.leader) if standing.leader else None,
        standing.term,
        standing.committed,
        standing.applied,
        standing.revision,
        standing.space_bytes,
        [_node_shown(one) for one in seen.nodes],
    )


def _node_shown(node: NodeSeen) -> NodeShown:
    member = node.member
    return NodeShown(
        id=str(member.id),
        name=member.name,
        role=node.role,
        is_learner=member.is_learner,
        peer_address=member.peer_address,
        client_address=member.client_address,
        term=node.term,
        kept=node.kept,
        committed=node.committed,
        applied=node.applied,
    )


def text_of(given: bytes) -> str:
    return given.decode(errors="backslashreplace")


def number_of(id_: str, what: str) -> int:
    """
    Raises:
        Invalid: it is none.
    """
    if not id_.isascii() or not id_.isdigit() or len(id_) > len(str(1 << 63)):
        raise Invalid(f"{id_[:100]!r} is no number of a {what}")
    return int(id_)


def lease_of(id_: str) -> int:
    """
    Raises:
        Invalid: it is none.
    """
    try:
        lease = int(id_, 16)
    except ValueError:
        lease = 0
    if not 0 < lease < 1 << 63:
        raise Invalid(f"{id_[:100]!r} is no lease; it is written in hexadecimal digits")
    return lease


def bytes_of(text: str | None, encoded: str | None, name: str) -> bytes:
    """
    Raises:
        Invalid: both are given, or what is no base64.
    """
    if text is not None and encoded is not None:
        raise Invalid(f"{name} and {name}_base64 are both given; one of them is taken")
    if encoded is None:
        return (text or "").encode()
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid(f"{name}_base64 is no base64: {error}") from error


def _shown(given: bytes, name: str) -> dict[str, Any]:
    try:
        return {name: given.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(given).decode()}
