"""Who may do what with a link: manage it, or follow it. Without an account a link belongs to
whoever shows its key.

    manage key   22 characters of Base62, 128 bits of chance; told once, kept by its holder
    owner        "key:" and a hash of it; kept by us

A key is no password that somebody thought up, so one round of a fast hash is enough: there are no
likely keys to try, and whoever reads the table of links can't manage one. There is one more table:
a request with an Idempotency-Key has its reply kept for a day, to be repeated, with the key in it.
Whoever reads that one can manage the links that were made so within the day.
"""

import re
from hashlib import blake2b

from bastide.apps.shortener.contract import (
    KeyWrong,
    Link,
    LinkBlocked,
    LinkDeleted,
    LinkDisabled,
    LinkExpired,
    LinkMissing,
)
from bastide.apps.shortener.core.codes import base62
from bastide.base.gate import Caller

KEY_BYTES = 16
KEY_CHARACTERS = 22  # 62^22 > 2^128

_KEY = re.compile(rf"[0-9A-Za-z]{{{KEY_CHARACTERS}}}")


def key_of(token: bytes) -> str:
    """A manage key out of KEY_BYTES bytes of chance."""
    assert len(token) == KEY_BYTES
    return base62(int.from_bytes(token), length=KEY_CHARACTERS)


def owner_of_key(key: str) -> str:
    """
    Raises:
        KeyWrong: no key of ours looks like this.
    """
    if not _KEY.fullmatch(key):
        raise KeyWrong(f"a manage key has {KEY_CHARACTERS} letters and digits")
    return f"key:{blake2b(key.encode(), digest_size=20).hexdigest()}"


def owner_of_user(user: int) -> str:
    return f"user:{user}"


def owner_of(caller: Caller) -> str | None:
    """Whom the request speaks for; None if nobody has said.

    Raises:
        KeyWrong.
    """
    if caller.user is not None:
        return owner_of_user(caller.user)
    return None if caller.credential is None else owner_of_key(caller.credential)


def there(code: str, link: Link | None) -> Link:
    """
    Raises:
        LinkMissing, LinkDeleted.
    """
    if link is None:
        raise LinkMissing(code)
    if link.deleted:
        raise LinkDeleted(code)
    return link


def owned(code: str, link: Link | None, owner: str) -> Link:
    """
    Raises:
        LinkMissing, LinkDeleted.
        KeyWrong: it is somebody else's.
    """
    link = there(code, link)
    if link.owner != owner:
        raise KeyWrong(f"this key does not manage the link {code!r}")
    return link


def followable(code: str, link: Link | None, now_ms: int) -> Link:
    """
    Raises:
        LinkMissing, LinkDeleted, LinkBlocked, LinkDisabled, LinkExpired.
    """
    link = there(code, link)
    if link.blocked:
        raise LinkBlocked(code)
    if link.disabled:
        raise LinkDisabled(code)
    if now_ms >= link.expires_at_ms:
        raise LinkExpired(code, expired_at_ms=link.expires_at_ms)
    return link
