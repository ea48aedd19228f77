"""One click as it lies in the journal, and many of them as counts.

    0         8         16    17       18       19        20        22       23
    | link id | at (ms) | bot | device | system | browser | country | length | referrer | request id
    | i64     | i64     | u8  | u8     | u8     | u8      | 2 ASCII | u8     | ASCII    | ASCII

No address and no User-Agent: what they tell is worked out before, and they are not kept, so they
can't leak. The request id is the one that the visitor got in X-Request-Id, so that every answered
redirect can be found again, once.

Counts are kept for each link and day (UTC): a fixed number of kinds, each with at most PLACES_MAX
names, so that whoever invents referrers fills no table. What comes beyond is counted as OTHER.
"""

import struct
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
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
_FIXED = struct.Struct("<qqBBBB2sB")

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


def encode(click: Click) -> bytes:
    visitor, client = click.visitor, click.visitor.client
    referrer = visitor.referrer.encode()
    fixed = _FIXED.pack(
        click.link_id,
        click.at_ms,
        client.bot,
        _DEVICES.index(client.device),
        _SYSTEMS.index(client.system),
        _BROWSERS.index(client.browser),
        visitor.country.encode(),
        len(referrer),
    )
    return fixed + referrer + click.request_id.encode()


def decode(record: bytes) -> Click:
    """Languages are not kept: they come back empty."""
    link_id, at_ms, bot, device, system, browser, country, length = _FIXED.unpack_from(record)
    referrer, request_id = record[_FIXED.size :][:length], record[_FIXED.size + length :]
    client = Client(_DEVICES[device], _SYSTEMS[system], _BROWSERS[browser], bool(bot))
    visitor = Visitor(client, country.rstrip(b"\0").decode(), (), referrer.decode())
    return Click(request_id.decode(), link_id, at_ms, visitor)


def tallies(records: Iterable[bytes]) -> Mapping[tuple[int, int], Tally]:
    """By link, and by the day's number since 1970."""
    found: dict[tuple[int, int], Tally] = {}
    for record in records:
        click = decode(record)
        tally = found.setdefault((click.link_id, click.at_ms // DAY_MS), Tally())
        if click.visitor.client.bot:
            tally.bots += 1
        else:
            tally.clicks += 1
            _add(tally.shares, click.visitor)
    return found


def totals(tallies: Mapping[tuple[int, int], Tally]) -> Mapping[int, Tally]:
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


def _add(shares: Shares, visitor: Visitor) -> None:
    client = visitor.client
    told = (visitor.country, client.device, client.browser, client.system, visitor.referrer)
    for kind, name in zip(KINDS, told, strict=True):
        counts = shares.setdefault(kind, {})
        if name not in counts and len(counts) >= PLACES_MAX:
            name = OTHER
        counts[name] = counts.get(name, 0) + 1
