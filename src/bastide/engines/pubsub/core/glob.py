"""Redis' patterns, matched without going back.

Idea: `*` cuts a pattern into pieces of a fixed length. The first must stand at the start, the last
at the end, and each between them where it is found first: an earlier place never takes anything
away from those that follow. So nothing that was found is tried again (an atomic group of the
regular expression), and a match costs at most pattern times channel.

    user:*:[ab]?:*:end        user:(?>.*?:[ab].:).*:end
    ╰─┬─╯ ╰──┬──╯ ╰┬─╯
    at the  found  at the
    start   first  end

Oddities that are Redis' own (util.c, stringmatchlen): a set that is not closed ends with the
pattern, `[c-a]` is `[a-c]`, an empty set matches nothing, `[^]` matches any byte, `-]` ends no set
but a range. Differs from it: a range from ASCII to beyond is refused, since Redis compares `char`,
which is signed on some processors and not on others.
"""

import re
from collections.abc import Iterator, Sequence

from bastide.engines.pubsub.contract import ChannelRefused

SPECIAL = frozenset(b"*?[\\")
ASCII_END = 0x80
ANY, NEVER = b".", b"(?!)"


def is_literal(pattern: str) -> bool:
    """Whether it stands for the channel of the same name alone."""
    return SPECIAL.isdisjoint(pattern.encode())


def check(pattern: str) -> None:
    """
    Raises:
        ChannelRefused: servers would not agree on what it means.
    """
    _expression(pattern.encode())


class Glob:
    """A pattern, compiled; `matches` takes the bytes of a channel."""

    def __init__(self, pattern: str) -> None:
        self._expression = re.compile(_expression(pattern.encode()), re.DOTALL)

    def matches(self, channel: bytes) -> bool:
        return self._expression.fullmatch(channel) is not None


def _expression(pattern: bytes) -> bytes:
    first, *between = (b"".join(piece) for piece in _pieces(pattern))
    if not between:
        return first
    last = between.pop()
    found = (b"(?>.*?%b)" % piece for piece in between if piece)
    return b"".join((first, *found, b".*", last))


def _pieces(rest: bytes) -> Iterator[Sequence[bytes]]:
    """What stands between stars: a regular expression for each byte."""
    piece: list[bytes] = []
    while rest:
        if rest[:1] == b"*":
            yield piece
            piece, rest = [], rest[1:]
        else:
            one, rest = _one(rest)
            piece.append(one)
    yield piece


def _one(rest: bytes) -> tuple[bytes, bytes]:
    """What matches one byte at the start of `rest`, and what follows it."""
    match rest[:1]:
        case b"?":
            return ANY, rest[1:]
        case b"[":
            return _set(rest[1:])
        case b"\\" if len(rest) > 1:
            return re.escape(rest[1:2]), rest[2:]
    return re.escape(rest[:1]), rest[1:]


def _set(rest: bytes) -> tuple[bytes, bytes]:
    negated = rest[:1] == b"^"
    rest = rest[1:] if negated else rest
    inside: set[int] = set()
    while rest and rest[:1] != b"]":
        if rest[:1] == b"\\" and len(rest) > 1:
            inside.add(rest[1])
            rest = rest[2:]
        elif len(rest) > 2 and rest[1:2] == b"-":
            inside.update(_range(rest[0], rest[2]))
            rest = rest[3:]
        else:
            inside.add(rest[0])
            rest = rest[1:]
    members = b"".join(re.escape(bytes([byte])) for byte in sorted(inside))
    if not members:
        return (ANY if negated else NEVER), rest[1:]
    return b"[%b%b]" % (b"^" if negated else b"", members), rest[1:]


def _range(one: int, other: int) -> range:
    low, high = sorted((one, other))
    if low < ASCII_END <= high:
        given = f"a range from byte {low:#x} to byte {high:#x}"
        raise ChannelRefused(f"{given}; both ends are ASCII, or neither: a set is one of bytes")
    return range(low, high + 1)
