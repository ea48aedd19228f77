"""One click as it lies in the journal, and many of them as counts.

    0         8         16    17       18       19        20        22       23
    | link id | at (ms) | bot | device | system | browser | country | length | referrer | request id
    | i64     | i64     | u8  | u8     | u8     | u8      | 2 ASCII | u8     | ASCII    | ASCII
                        '-------- what the visitor told: the same bytes, the same shares --------'

No address and no User-Agent: what they tell is worked out before, and they are not kept, so they
can't leak. The request id is the one that the visitor got in X-Request-Id, so that every answered
redirect can be found again, once.

Counts are kept for each link and day (UTC): a fixed number of kinds, each with at most PLACES_MAX
names, so that whoever invents referrers fills no table. What comes beyond is counted as OTHER.

Most clicks of a hot link tell the same. So they are first heaped by link, day and told bytes, which
costs a click two look-ups, and read only as heaps: see `Stretch`.
"""

import struct
from collections.abc import Mapping, MutableMapping, Sequence
from functools import lru_cache
from typing import get_args

import msgspec

from bastide.apps.shortener.contract import OTHER, PLACES_MAX, Kind, Share
from bastide.parts.visitor.contract import Browser, Client, Device, System, Visitor

KINDS: Sequence[Kind] = get_args(Kind)
SHARES_SHOWN_MAX = 20  # of one kind
DAY_MS = 24 * 3600 * 1000

_DEVICES: Sequence[Device] = get_args(Device)
_SYSTEMS: Sequence[System] = get_args(System)
_BROWSERS: Sequence[Browser] = get_args(Browser)
_PLACE = struct.Struct("<qq")
_TOLD = struct.Struct("<BBBB2sB")
_TOLD_AT = _PLACE.size
_REFERRER_AT = _TOLD_AT + _TOLD.size
TOLD_REMEMBERED = 4_096

STRETCH_CLICKS_MAX = 1 << 15
STRETCH_DAYS_MAX = 1 << 12
STRETCH_TOLD_MAX = 1 << 9  # of one link on one day: some 1 ms to read

LinkDay = tuple[int, int]
"""A link, and a day's number since 1970."""
Shares = MutableMapping[Kind, MutableMapping[str, int]]


class Click(msgspec.Struct, frozen=True, gc=False):
    request_id: str
    link_id: int
    at_ms: int
    visitor: Visitor


class Tally(msgspec.Struct):
    """Of one link on one day. `clicks` and `shares` are people's."""

    clicks: int = 0
    bots: int = 0
    shares: Shares = {}


class Stretch:
    """Clicks of a stretch of the journal, from offset `first` to `until` (exclusive), heaped by
    link and day, and there by what was told.
    """

    def __init__(self, first: int) -> None:
        self.first = self.until = first
        self.is_full = False
        self.heaps: dict[LinkDay, dict[bytes, int]] = {}

    def add(self, link_id: int, at_ms: int, told: bytes) -> None:
        """The click at `until`."""
        day = (link_id, at_ms // DAY_MS)
        heap = self.heaps.get(day)
        if heap is None:
            heap = self.heaps[day] = {}
        heap[told] = heap.get(told, 0) + 1
        self.until += 1
        self.is_full = (
            len(heap) >= STRETCH_TOLD_MAX
            or len(self.heaps) >= STRETCH_DAYS_MAX
            or self.until - self.first >= STRETCH_CLICKS_MAX
        )

    def add_record(self, record: bytes) -> None:
        link_id, at_ms = _PLACE.unpack_from(record)
        self.add(link_id, at_ms, record[_TOLD_AT : _REFERRER_AT + record[_REFERRER_AT - 1]])


def encode(click: Click) -> bytes:
    return framed(click, told_by(click.visitor))


def framed(click: Click, told: bytes) -> bytes:
    """`told` is what `click.visitor` told."""
    return _PLACE.pack(click.link_id, click.at_ms) + told + click.request_id.encode()


@lru_cache(TOLD_REMEMBERED)
def told_by(visitor: Visitor) -> bytes:
    client, referrer = visitor.client, visitor.referrer.encode()
    fixed = _TOLD.pack(
        client.bot,
        _DEVICES.index(client.device),
        _SYSTEMS.index(client.system),
        _BROWSERS.index(client.browser),
        visitor.country.encode(),
        len(referrer),
    )
    return fixed + referrer


def decode(record: bytes) -> Click:
    """Languages are not kept: they come back empty."""
    link_id, at_ms = _PLACE.unpack_from(record)
    end = _REFERRER_AT + record[_REFERRER_AT - 1]
    return Click(record[end:].decode(), link_id, at_ms, visitor_in(record[_TOLD_AT:end]))


@lru_cache(TOLD_REMEMBERED)
def visitor_in(told: bytes) -> Visitor:
    bot, device, system, browser, country, _ = _TOLD.unpack_from(told)
    client = Client(_DEVICES[device], _SYSTEMS[system], _BROWSERS[browser], bool(bot))
    return Visitor(client, country.rstrip(b"\0").decode(), (), told[_TOLD.size :].decode())


def tally(heap: Mapping[bytes, int]) -> Tally:
    """What the clicks of one link on one day come to."""
    found = Tally()
    for told, count in heap.items():
        visitor = visitor_in(told)
        if visitor.client.bot:
            found.bots += count
        else:
            found.clicks += count
            _add(found.shares, visitor, count)
    return found


def totals(tallies: Mapping[LinkDay, Tally]) -> Mapping[int, Tally]:
    """By link alone, without shares."""
    found: dict[int, Tally] = {}
    for (link_id, _), tally in tallies.items():
        total = found.setdefault(link_id, Tally())
        total.clicks += tally.clicks
        total.bots += tally.bots
    return found


def merge(into: Shares, more: Mapping[Kind, Mapping[str, int]], *, names_max: int) -> None:
    """Adds `more`; a kind that has `names_max` names gets no other but OTHER."""
    for kind, counts in more.items():
        known = into.setdefault(kind, {})
        for name, count in counts.items():
            place = name if name in known or len(known) < names_max else OTHER
            known[place] = known.get(place, 0) + count


def shown(shares: Mapping[Kind, Mapping[str, int]]) -> Mapping[Kind, Sequence[Share]]:
    """The most first, of each kind at most SHARES_SHOWN_MAX and one for all others."""
    return {kind: _most(shares.get(kind, {})) for kind in KINDS}


def _most(counts: Mapping[str, int]) -> Sequence[Share]:
    named = sorted((n for n in counts if n != OTHER), key=lambda name: (-counts[name], name))
    few = [Share(name, counts[name]) for name in named[:SHARES_SHOWN_MAX]]
    left = sum(counts.values()) - sum(share.clicks for share in few)
    return [*few, Share(OTHER, left)] if left else few


def _add(shares: Shares, visitor: Visitor, count: int) -> None:
    client = visitor.client
    told = (visitor.country, client.device, client.browser, client.system, visitor.referrer)
    for kind, name in zip(KINDS, told, strict=True):
        counts = shares.setdefault(kind, {})
        if name not in counts and len(counts) >= PLACES_MAX:
            name = OTHER
        counts[name] = counts.get(name, 0) + count
