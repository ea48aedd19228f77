r"""Conditions on a request (RFC 9110, 13): what a client saw before, held against what is there.

    If-Match             the version I saw is still there    strong  else 412   lost updates
    If-Unmodified-Since  the same, by date                           else 412
    If-None-Match        there is none of those I have       weak    else 304, or 412 if it writes
    If-Modified-Since    the same, by date; GET and HEAD             else 304
    If-Range             then the part will do               strong  else the whole

The order is that of 13.2.2, since tags are more exact than dates and a lost update is worse than a
lost cache:

    If-Match? ──no──> If-Unmodified-Since ──┐      If-None-Match? ──no──> If-Modified-Since
        └── yes: date not looked at ────────┴──>        └── yes: date not looked at

An entity tag is `"..."`, or `W/"..."` if equal tags promise no equal bytes (8.8.3). Strong
comparison: both strong, and equal. Weak: equal but for the W/ (8.8.3.2). Inside, a backslash quotes
nothing, and a comma ends nothing.

A date that is none is ignored (13.1.3, 13.1.4), a list of tags that is none matches nothing: so a
write under a broken If-Match fails, and a read under a broken If-None-Match is answered in full.
Conditions are looked at last, and "A server MUST ignore all received preconditions if its response
to the same request without those conditions ... would have been a status code other than a 2xx
(Successful) or 412" (13.2.1): the caller asks only then.
"""

import re
from collections.abc import Callable, Mapping
from enum import Enum, auto

from msgspec import Struct

from bastide.base.routes.fields import listed
from bastide.parts.http.core.dates import epoch_of

TAGS_MAX = 64  # of one header; more match nothing

_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*+"')
_UNCONDITIONAL = frozenset(("CONNECT", "OPTIONS", "TRACE"))  # 13.2.1
_CONDITIONS = frozenset(("if-match", "if-unmodified-since", "if-none-match", "if-modified-since"))


class Outcome(Enum):
    PROCEED = auto()
    NOT_MODIFIED = auto()  # 304
    FAILED = auto()  # 412


class Current(Struct, frozen=True):
    """What is there now: its entity tag as it is sent, quotes and all, and when it was changed.
    Either may be unknown.
    """

    etag: str | None = None
    modified_s: int | None = None


def is_tag(text: str) -> bool:
    return _TAG.fullmatch(text) is not None


def equal_strong(one: str, other: str) -> bool:
    return one == other and not one.startswith("W/")


def equal_weak(one: str, other: str) -> bool:
    return one.removeprefix("W/") == other.removeprefix("W/")


def evaluate(
    method: str, headers: Mapping[str, str], current: Current | None, *, now_s: int
) -> Outcome:
    """Whether the request may be done, by steps 1 to 4 of 13.2.2. `headers` have lower-case names;
    `current` is None if nothing is there (yet).
    """
    if method in _UNCONDITIONAL or _CONDITIONS.isdisjoint(headers):
        return Outcome.PROCEED
    if not _is_unchanged(headers, current, now_s=now_s):
        return Outcome.FAILED
    if _is_new(method, headers, current, now_s=now_s):
        return Outcome.PROCEED
    return Outcome.NOT_MODIFIED if method in ("GET", "HEAD") else Outcome.FAILED


def takes_part(if_range: str | None, current: Current, *, now_s: int) -> bool:
    """Step 5: whether Range counts (13.1.5). A date must be equal, not later; and one of this very
    second is no strong validator (8.8.2.2), since the second may bring another change.
    """
    if if_range is None:
        return True
    if '"' in if_range[:3]:
        etag = current.etag
        return etag is not None and is_tag(if_range) and equal_strong(if_range, etag)
    date_s = epoch_of(if_range, now_s=now_s)
    return date_s is not None and date_s == current.modified_s and date_s < now_s


def _is_unchanged(headers: Mapping[str, str], current: Current | None, *, now_s: int) -> bool:
    """Steps 1 and 2."""
    if (tags := headers.get("if-match")) is not None:
        return _names(tags, current, equal_strong)
    since_s = _date(headers, "if-unmodified-since", now_s=now_s)
    if since_s is None or current is None or current.modified_s is None:
        return True
    return current.modified_s <= since_s


def _is_new(
    method: str, headers: Mapping[str, str], current: Current | None, *, now_s: int
) -> bool:
    """Steps 3 and 4."""
    if (tags := headers.get("if-none-match")) is not None:
        return not _names(tags, current, equal_weak)
    if method not in ("GET", "HEAD") or current is None or current.modified_s is None:
        return True
    since_s = _date(headers, "if-modified-since", now_s=now_s)
    return since_s is None or current.modified_s > since_s


def _names(header: str, current: Current | None, equal: Callable[[str, str], bool]) -> bool:
    """Whether "*" or a list of tags names what is there."""
    if current is None:
        return False
    if header == "*":
        return True
    if (etag := current.etag) is None:
        return False
    tags = listed(header, _TAG, members_max=TAGS_MAX) or ()
    return any(equal(tag[0], etag) for tag in tags)


def _date(headers: Mapping[str, str], name: str, *, now_s: int) -> int | None:
    text = headers.get(name)
    return None if text is None else epoch_of(text, now_s=now_s)
