"""What a Kafka consumer was assigned: the bytes that a group's leader gave for it, where the
group's protocol type is "consumer". The broker need not know; it is shown to whoever looks on.

    | version i16 | topics i32 | each: name (i16 length), partitions (i32 count, i32 each) | ...

Later versions append, so what is behind the topics is not looked at.
"""

import struct
from collections.abc import Sequence

_HEAD = struct.Struct(">hi")
_SHORT = struct.Struct(">h")
_INT = struct.Struct(">i")


def assigned(given: bytes) -> Sequence[tuple[str, int]]:
    """Topic and partition of each, in order; nothing, if it is none that we can read."""
    try:
        return tuple(sorted(_read(given)))
    except (struct.error, UnicodeDecodeError):
        return ()


def _read(given: bytes) -> Sequence[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    _, topics = _HEAD.unpack_from(given)
    at = _HEAD.size
    for _ in range(topics):
        (size,) = _SHORT.unpack_from(given, at)
        at += _SHORT.size
        if size < 0:  # or it would go back, and perhaps for ever
            raise struct.error
        name, at = given[at : at + size].decode(), at + size
        (count,) = _INT.unpack_from(given, at)
        numbers = struct.unpack_from(f">{max(0, count)}i", given, at + _INT.size)
        at += _INT.size + 4 * len(numbers)
        found += ((name, number) for number in numbers)
    return found
