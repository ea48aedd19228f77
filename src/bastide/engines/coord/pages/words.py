"""How keys, nodes and times are shown."""

import base64
from collections.abc import Sequence
from math import cos, pi, sin
from urllib.parse import urlencode

import msgspec

from bastide.engines.coord.contract import Item, Lease
from bastide.engines.coord.service.operator import RESERVED, UNKNOWN_S, NodeSeen

RING_X, RING_Y = 160.0, 104.0  # the middle of the picture
RADIUS = 72.0


class Dot(msgspec.Struct, frozen=True):
    """A node in the picture of the ring."""

    node: NodeSeen
    x: float
    y: float


def ring_of(nodes: Sequence[NodeSeen]) -> Sequence[Dot]:
    """On a circle, the first one on top; a single one in the middle."""
    radius = RADIUS if len(nodes) > 1 else 0.0
    turns = [2 * pi * n / len(nodes) for n in range(len(nodes))]
    return [
        Dot(node, round(RING_X + radius * sin(turn), 1), round(RING_Y - radius * cos(turn), 1))
        for node, turn in zip(nodes, turns, strict=True)
    ]


def query_of(key: bytes, name: str = "key") -> str:
    """The part of an address that names it."""
    try:
        return urlencode({name: key.decode()})
    except UnicodeDecodeError:
        return urlencode({f"{name}_base64": base64.b64encode(key).decode()})


def left_text(lease: Lease | None) -> str:
    """What is left of a lease's time."""
    if lease is None:
        return "ended"
    if lease.left_s == UNKNOWN_S:
        return f"not known now, of {lease.ttl_s:,} s"
    return f"{max(0, lease.left_s):,.0f} of {lease.ttl_s:,} s"


def is_deleted(item: Item) -> bool:
    return item.version == 0


def is_reserved(key: bytes) -> bool:
    """An account's."""
    return key.startswith(RESERVED)
