"""Short links: what others may know of them.

Refusal
 ├── Invalid      TargetRefused, CodeWrong, ImportOver
 ├── Denied       KeyWrong
 ├── NotFound     LinkMissing
 │    └── Gone    LinkExpired, LinkDisabled, LinkDeleted
 ├── Conflict     CodeTaken, CodeReserved
 └── Unavailable  CodesCrowded, JournalBehind, JournalShared
"""

import msgspec

from bastide.base.errors import Conflict, Denied, Gone, Invalid, NotFound, Unavailable

TARGET_CHARACTERS_MAX = 2048
CODE_CHARACTERS_MIN = 3
CODE_CHARACTERS_MAX = 32
EXPIRES_DAYS_MAX = 36_500
IMPORT_LINES_MAX = 1_000
CODE_TRIES_MAX = 3


class TargetRefused(Invalid):
    """The long address is none that we redirect to; the message says why."""


class CodeWrong(Invalid):
    """A custom code has other characters, or another length, than are taken."""


class ImportOver(Invalid):
    """An import of no line, or of more than IMPORT_LINES_MAX."""


class KeyWrong(Denied):
    """The key is not the one that this link was made with."""


class LinkMissing(NotFound):
    def __init__(self, code: str) -> None:
        super().__init__(f"there is no link {code[:CODE_CHARACTERS_MAX]!r}")


class LinkExpired(Gone):
    def __init__(self, code: str, *, expired_at_ms: int) -> None:
        super().__init__(f"the link {code!r} has expired", expired_at_ms=expired_at_ms)


class LinkDisabled(Gone):
    def __init__(self, code: str) -> None:
        super().__init__(f"the link {code!r} is switched off by its owner")


class LinkDeleted(Gone):
    def __init__(self, code: str) -> None:
        super().__init__(f"the link {code!r} was deleted; its code is not given out again")


class CodeTaken(Conflict):
    def __init__(self, code: str) -> None:
        super().__init__(f"the code {code!r} is already taken")


class CodeReserved(Conflict):
    def __init__(self, code: str) -> None:
        super().__init__(f"the code {code!r} is reserved")


class CodesCrowded(Unavailable):
    """CODE_TRIES_MAX codes in a row were taken: so many links need longer codes."""


class JournalBehind(Unavailable):
    """More clicks are counted than the journal holds: an older copy of it was put back."""


class JournalShared(Unavailable):
    """Another process has counted clicks of a journal by this name: one of the two is a copy."""


class Link(msgspec.Struct, frozen=True):
    """One short link. `owner` is "key:<hash of its manage key>" or "user:<id>"; '' once deleted.

    It redirects from `created_at_ms` until `expires_at_ms` (exclusive; milliseconds since 1970,
    UTC), unless `disabled`. `permanent`: by 301 rather than 302.
    """

    id: int
    code: str
    target: str
    owner: str
    created_at_ms: int
    expires_at_ms: int
    permanent: bool
    disabled: bool
    custom: bool
    deleted: bool


class Stats(msgspec.Struct, frozen=True):
    """`total_clicks` counts every answered redirect; `bot_clicks` are those of them that programs
    asked for. `pending`: some answered ones may be missing yet, since the journal or the database
    refuses to have them counted now.
    """

    total_clicks: int
    bot_clicks: int
    pending: bool = False
