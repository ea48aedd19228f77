"""Spans of keys, as etcd writes them, and the one that is ours.

A key and an end: without an end the key alone; b"\\0" as an end: all from the key on. Accounts lie
below RESERVED, in the store itself; strangers' keys do not begin so, and what they ask of all keys
begins behind it.
"""

from typing import Any

import msgspec

from bastide.engines.coord.core.protocol.statuses import CallFailed, Code, etcd

RESERVED = b"\0"
FIRST_OPEN = b"\1"
TO_THE_END = b"\0"
KEY_RESERVED = etcd(Code.INVALID_ARGUMENT, "keys that begin with a zero byte are reserved")


class Span(msgspec.Struct, frozen=True):
    first: bytes
    end: bytes = b""

    @property
    def above(self) -> bytes | None:
        """The first key that is not in it; None: there is none."""
        if not self.end:
            return self.first + b"\0"
        return None if self.end == TO_THE_END else self.end


def open_to_strangers(message: Any) -> None:
    """Moves what is asked for behind what is reserved.

    Raises:
        KEY_RESERVED: nothing else is asked for.
    """
    key = message.key
    if not key.startswith(RESERVED):
        return
    end = getattr(message, "range_end", b"")
    if end != TO_THE_END and end <= FIRST_OPEN:
        raise CallFailed(KEY_RESERVED)
    message.key = FIRST_OPEN
