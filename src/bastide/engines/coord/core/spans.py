"""Which keys a request means: etcd's way to say it with two byte strings.

end          means
b""          `first` alone
b"\\0"        all from `first` on
otherwise    from `first` up to `end`, without it; none if `end` is not above `first`
"""

FROM_HERE_ON = b"\0"


def end_of(end: bytes) -> bytes | None:
    """As SortedKeys takes the end of a range that is not one key: None is none."""
    return None if end == FROM_HERE_ON else end


def is_within(key: bytes, first: bytes, end: bytes) -> bool:
    if not end:
        return key == first
    return first <= key and (end == FROM_HERE_ON or key < end)


def prefix_end(prefix: bytes) -> bytes:
    """The `end` that makes a range of all keys that begin with `prefix`."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,)) if kept else FROM_HERE_ON


def prefix_of(first: bytes, end: bytes) -> bytes | None:
    """What all keys of this range begin with, and no other key; None: there is no such prefix."""
    if first == FROM_HERE_ON == end:  # no key is empty, so all are from b"\\0" on
        return b""
    return first if end and prefix_end(first) == end else None
