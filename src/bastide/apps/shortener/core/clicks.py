"""One click as it lies in the journal, and many of them as counts.

    0         8         16    17
    | link id | at (ms) | bot | request id ...
    | i64     | i64     | u8  | ASCII

No address, no browser, no referrer: what is not kept can't leak. The request id is the one that the
visitor got in X-Request-Id, so that every answered redirect can be found again, once.

Who is a bot? Whoever says so. BOTS holds words of the User-Agents by which crawlers and preview
fetchers name themselves; and HEAD counts as a bot's, since no browser follows a link by HEAD.
"""

import struct
from collections.abc import Iterable, Mapping

import msgspec

BOTS = (
    *("bot", "crawl", "spider", "slurp", "archiver", "preview", "scraper", "monitor", "validator"),
    *("facebookexternalhit", "whatsapp", "embedly", "linkcheck", "headlesschrome", "lighthouse"),
)

_FIXED = struct.Struct("<qq?")


class Click(msgspec.Struct, frozen=True, gc=False):
    request_id: str
    link_id: int
    at_ms: int
    bot: bool


class Count(msgspec.Struct):
    clicks: int = 0
    bots: int = 0


def encode(click: Click) -> bytes:
    return _FIXED.pack(click.link_id, click.at_ms, click.bot) + click.request_id.encode()


def decode(record: bytes) -> Click:
    link_id, at_ms, bot = _FIXED.unpack_from(record)
    return Click(record[_FIXED.size :].decode(), link_id, at_ms, bot)


def tally(records: Iterable[bytes]) -> Mapping[int, Count]:
    """Clicks by link."""
    counts: dict[int, Count] = {}
    for record in records:
        link_id, _, bot = _FIXED.unpack_from(record)
        count = counts.setdefault(link_id, Count())
        count.clicks += 1
        count.bots += bot
    return counts


def is_bot(user_agent: str, method: str = "GET") -> bool:
    lower = user_agent.lower()
    return method == "HEAD" or any(word in lower for word in BOTS)
