"""Names as parts of keys. A slash in a name must not make it part of another name's queue:

lock "a" with lease 5c    /bastide/shop/locks/a/5c
lock "a/b"                /bastide/shop/locks/a%2Fb/5c
"""

from bastide.engines.coord.contract import NAME_BYTES_MAX, NO_LEASE, AskInvalid, AskTooLarge


def name_bytes(name: str) -> bytes:
    """`name` as it stands in keys.

    Raises:
        AskInvalid, AskTooLarge.
    """
    try:
        encoded = name.encode()
    except UnicodeEncodeError as error:
        raise AskInvalid("a name that has half of a surrogate pair") from error
    if not encoded or b"\0" in encoded:
        raise AskInvalid(f"{name!r} is no name: it is empty, or has a zero in it")
    if len(encoded) > NAME_BYTES_MAX:
        raise AskTooLarge(f"a name of {len(encoded)} bytes; at most {NAME_BYTES_MAX} are taken")
    return encoded.replace(b"%", b"%25").replace(b"/", b"%2F")


def name_of(part: bytes) -> str:
    """What `name_bytes` was given. Strangers' keys may be no text: they are shown, not refused."""
    return part.replace(b"%2F", b"/").replace(b"%25", b"%").decode(errors="replace")


def check_lease(lease: int) -> None:
    """Of what is to go with its lease.

    Raises:
        AskInvalid
    """
    if lease <= NO_LEASE:
        raise AskInvalid(f"lease {lease}: it is held by a lease, and would be for ever without one")
