"""Codes: what a short link is called.

    https://sho.rt/ 4fT9aQ2     made: Base62, as long as the setting says
                    spring-sale custom: 3 to 32 of A-Z a-z 0-9 _ -

How long? 62^6 is 5.7e10 codes and 62^7 is 3.5e12. The largest figure in the sources is 1.8e11 links
(100 million a day for five years): seven characters are the fewest that hold them, and even then 19
of 20 guesses miss.

Four ways to make one, by a setting:

    counter   a number through a keyed permutation: never twice, so nothing is looked up, and not
              predictable without the key (the default)
    random    may be taken: up to three tries
    hash      of long address, owner, time and try, cut off: may be taken, up to three tries
    pool      random, claimed from keys made ahead

Whatever the way, only the unique index decides who has a code; nothing asks first and inserts then.
"""

import re
from hashlib import blake2b

from bastide.apps.shortener.contract import (
    CODE_CHARACTERS_MAX,
    CODE_CHARACTERS_MIN,
    CodeReserved,
    CodeWrong,
)

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

# First words of paths that are served here, or that browsers and crawlers ask every host for; those
# of the API; and words under which a link would pass for a page of ours. In any case of letters.
RESERVED = frozenset(
    (
        *("analytics", "api", "assets", "create_url", "fragments", "healthz", "links", "livez"),
        *(
            "blocked",
            "import",
            "manage",
            "metrics",
            "reports",
            "reserved",
            "schema",
            "shorten",
            "shortener",
        ),
        *("static", "stats", "tags"),
        *("apple-touch-icon", "favicon", "index", "manifest", "robots", "security", "sitemap"),
        *("about", "abuse", "account", "admin", "bastide", "billing", "contact", "console"),
        *("dashboard", "docs", "help", "home", "legal", "login", "logout", "password", "privacy"),
        *("register", "report", "settings", "signin", "signup", "status", "support", "terms"),
    )
)

_CODE = re.compile(rf"[A-Za-z0-9_-]{{{CODE_CHARACTERS_MIN},{CODE_CHARACTERS_MAX}}}")


def is_code(text: str) -> bool:
    """Whether a link can be called `text`. What isn't need not be looked up."""
    return _CODE.fullmatch(text) is not None


def is_reserved(code: str) -> bool:
    return code.lower() in RESERVED


def check_custom(code: str) -> None:
    """
    Raises:
        CodeWrong, CodeReserved.
    """
    if not is_code(code):
        raise CodeWrong(
            f"{code[: CODE_CHARACTERS_MAX + 1]!r} can't be a code; "
            f"{CODE_CHARACTERS_MIN} to {CODE_CHARACTERS_MAX} of A-Z, a-z, 0-9, _ and - are taken"
        )
    if is_reserved(code):
        raise CodeReserved(code)


def hash_code(target_hash: str, owner: str, *, at_ms: int, attempt: int, length: int) -> str:
    """A code from what the link is. `owner` holds 128 bits of chance, so it can't be foretold; with
    the time, an address that is shortened again after its link was deleted gets new tries.
    """
    made_of = f"{attempt} {at_ms} {owner} {target_hash}"
    digest = blake2b(made_of.encode(), digest_size=16).digest()
    return base62(int.from_bytes(digest), length=length)


def base62(number: int, *, length: int) -> str:
    """The last `length` digits of `number`, in Base62."""
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
