"""Many clicks as counts.

Counts are kept for each link and day (UTC): a fixed number of kinds, each with at most PLACES_MAX
names, so that whoever invents referrers fills no table. What comes beyond is counted as OTHER.

Most clicks of a hot link tell the same. So they are first heaped by link, day and what they told,
which costs a click two look-ups, and read only as heaps.
"""

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import get_args

import msgspec

from bastide.apps.shortener.contract import OTHER, PLACES_MAX, Clicked, Kind, Share

KINDS: Sequence[Kind] = get_args(Kind)
SHARES_SHOWN_MAX = 20  # of one kind
DAY_MS = 24 * 3600 * 1000

LinkDay = tuple[int, int]
"""A link, and a day's number since 1970."""
Told = tuple[bool, str, str, str, str, str]
"""Whether it was a bot; then names, in the order of KINDS."""
Shares = MutableMapping[Kind, MutableMapping[str, int]]


class Tally(msgspec.Struct):
    """Of one link on one day. `clicks` and `shares` are people's."""

    clicks: int = 0
    bots: int = 0
    shares: Shares = {}


def tallies(clicks: Iterable[Clicked]) -> Mapping[LinkDay, Tally]:
    """What they come to, by link and day."""
    return {day: _tally(heap) for day, heap in _heaps(clicks).items()}


def _heaps(clicks: Iterable[Clicked]) -> Mapping[LinkDay, Mapping[Told, int]]:
    heaps: dict[LinkDay, dict[Told, int]] = {}
    for click in clicks:
        day = (int(click.link_id), click.at_ms // DAY_MS)
        heap = heaps.get(day)
        if heap is None:
            heap = heaps[day] = {}
        told = (
            click.bot,
            click.country,
            click.device,
            click.browser,
            click.system,
            click.referrer,
        )
        heap[told] = heap.get(told, 0) + 1
    return heaps


def _tally(heap: Mapping[Told, int]) -> Tally:
    found = Tally()
    for (bot, *names), count in heap.items():
        if bot:
            found.bots += count
        else:
            found.clicks += count
            _add(found.shares, names, count)
    return found


def totals(tallied: Mapping[LinkDay, Tally]) -> Mapping[int, Tally]:
    """By link alone, without shares."""
    found: dict[int, Tally] = {}
    for (link_id, _), tally in tallied.items():
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


def _add(shares: Shares, names: Sequence[str], count: int) -> None:
    for kind, name in zip(KINDS, names, strict=True):
        counts = shares.setdefault(kind, {})
        if name not in counts and len(counts) >= PLACES_MAX:
            name = OTHER
        counts[name] = counts.get(name, 0) + count
