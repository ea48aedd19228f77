"""Parts of a representation (RFC 9110, 14): which bytes a Range asks for, and how they are sent.

    Range: bytes=0-499, 9500-, -500        of 10000 bytes
                 │      │       └─ the last 500
                 │      └─ from 9500 to the end
                 └─ the first 500: both ends are inside

What is not understood is ignored, and the whole is sent: "A server MAY ignore the Range header
field" (14.2), and must if the unit is another. What is understood and lies behind the end is
refused with 416 and `content-range: bytes */10000` (15.5.17). An empty representation has no parts:
its Range is ignored too ("MAY ignore ... when the selected representation has no content", 14.2).

**Many ranges.** 1,300 overlapping ones made a server prepare 1,300 parts of one file and run out of
memory (CVE-2011-3192, "Apache Killer"). So more than `ranges_max` are ignored, as 14.2 allows, and
those that overlap or touch are coalesced (15.3.7.2): what is sent is never more than the whole and
`ranges_max` heads. Parts keep the order in which they were asked for.

    bytes=500-700,601-999    ─>  500-999

Differs from the RFC's hint to fill small gaps: nobody is sent a byte that was not asked for.

One range is answered as it is, with Content-Range in the head of the reply (15.3.7.1); several as
multipart/byteranges (14.6), whose length is known before anything is read:

    CRLF --boundary CRLF content-type .. CRLF content-range .. CRLF CRLF <bytes>     each part
    CRLF --boundary-- CRLF                                                           the end

Range is defined for GET alone (14.2), and If-Range comes before it (conditions.py): the caller asks
no more than that. Cost: linear in the header, at most `ranges_max` ranges of it.
"""

import re
from collections.abc import Sequence

from msgspec import Struct

from bastide.base.routes.fields import is_token, listed

BOUNDARY_CHARACTERS_MAX = 70  # RFC 2046, 5.1.1

_UNIT = "bytes="
_SPEC = re.compile(r"([0-9]++)-([0-9]*+)|-([0-9]++)")
_DIGITS_MAX = 18  # more than any file has


class Range(Struct, frozen=True):
    """Bytes of a representation, both ends inside."""

    first: int
    last: int

    @property
    def length(self) -> int:
        return self.last + 1 - self.first


def ranges_of(header: str, size: int, *, ranges_max: int = 8) -> Sequence[Range] | None:
    """What a Range asks of `size` bytes: at most `ranges_max` ranges that neither overlap nor
    touch. None if it is to be ignored, and the whole is the answer (200). Empty if no range can be
    satisfied (416).
    """
    if size == 0 or header[: len(_UNIT)].lower() != _UNIT:
        return None
    specs = listed(header[len(_UNIT) :], _SPEC, members_max=ranges_max)
    if not specs or any(_is_backward(spec) for spec in specs):
        return None
    wanted = [range_ for spec in specs if (range_ := _clipped(spec, size))]
    return wanted if len(wanted) < 2 else _coalesced(wanted)


def content_range(range_: Range, size: int) -> str:
    """The value of Content-Range of a part (14.4)."""
    return f"bytes {range_.first}-{range_.last}/{size}"


def content_range_unsatisfied(size: int) -> str:
    """The value of Content-Range beside 416."""
    return f"bytes */{size}"


class Byteranges(Struct, frozen=True):
    """Several `ranges` of one representation as one body. `boundary` is made by chance, long enough
    to be in no file: 16 characters of base 16 or more. `media_type` is that of the representation.
    """

    ranges: Sequence[Range]
    size: int
    media_type: str
    boundary: str

    def __post_init__(self) -> None:
        assert is_token(self.boundary), f"{self.boundary!r} would have to be quoted (14.6)"
        assert len(self.boundary) <= BOUNDARY_CHARACTERS_MAX
        assert "\r" not in self.media_type
        assert "\n" not in self.media_type

    @property
    def content_type(self) -> str:
        return f"multipart/byteranges; boundary={self.boundary}"

    def head(self, range_: Range) -> bytes:
        """What stands before the bytes of a part. CRLFs may precede the first, too (14.6)."""
        return (
            f"\r\n--{self.boundary}\r\ncontent-type: {self.media_type}\r\n"
            f"content-range: {content_range(range_, self.size)}\r\n\r\n"
        ).encode("latin-1")

    @property
    def end(self) -> bytes:
        """What stands behind the bytes of the last part."""
        return f"\r\n--{self.boundary}--\r\n".encode("latin-1")

    @property
    def length(self) -> int:
        """The value of Content-Length."""
        parts = (len(self.head(range_)) + range_.length for range_ in self.ranges)
        return sum(parts) + len(self.end)


def _is_backward(spec: re.Match[str]) -> bool:
    """ "An int-range is invalid if the last-pos value is present and less than first-pos" (14.1.1):
    compared as digits, so that none are too many.
    """
    if not spec[2]:
        return False
    first, last = spec[1].lstrip("0"), spec[2].lstrip("0")
    return (len(last), last) < (len(first), first)


def _clipped(spec: re.Match[str], size: int) -> Range | None:
    """None if the range is not satisfiable."""
    if spec[3]:
        length = min(_number(spec[3]), size)
        return Range(size - length, size - 1) if length else None
    first = _number(spec[1])
    last = min(_number(spec[2]), size - 1) if spec[2] else size - 1
    return Range(first, last) if first < size else None


def _number(digits: str) -> int:
    """Recipients "MUST anticipate potentially large decimal numerals" (14.1.2)."""
    if len(digits) > _DIGITS_MAX:
        digits = digits.lstrip("0")[: _DIGITS_MAX + 1]
    return int(digits or "0")


def _coalesced(ranges: Sequence[Range]) -> Sequence[Range]:
    """What overlaps or touches as one, which stands where its first part was asked for."""
    merged: list[tuple[int, Range]] = []
    for place, range_ in sorted(enumerate(ranges), key=lambda pair: pair[1].first):
        if merged and range_.first <= merged[-1][1].last + 1:
            place_before, before = merged.pop()
            range_ = Range(before.first, max(before.last, range_.last))
            place = min(place, place_before)
        merged.append((place, range_))
    return [range_ for _, range_ in sorted(merged, key=lambda pair: pair[0])]
