"""The six ways a call can be refused, and how each is shown outside.

    Refusal
     ├── Invalid        the arguments are wrong; repeating the call cannot help
     │    └── TooLarge            413
     ├── Denied         the caller may not
     │    └── Unauthenticated     401, nobody has said who is calling
     ├── NotFound       there is no such thing
     │    └── Gone                410, there was
     ├── Conflict       the state does not allow it now; read again, then decide
     │    └── Mismatch            422, the same key came with another request
     ├── Limited        too much at once; wait `retry_after_s`
     └── Unavailable    what the call needs is away; repeating it later may help

Every error that a system raises is one of these kinds. Doors know kinds only: `shown` finds the
row.
"""

from collections.abc import Mapping
from typing import ClassVar

import msgspec


class Refusal(Exception):
    """Never raised itself. `facts` are what the caller needs to act on, beside the message. `title`
    is for a narrower class whose kind's title would mislead; `headers` are what its HTTP reply owes
    besides.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = ""
    headers: ClassVar[Mapping[str, str]] = {}

    def __init__(self, message: str, **facts: str | int | float) -> None:
        super().__init__(message)
        self.facts: Mapping[str, str | int | float] = facts


class Invalid(Refusal):
    status = 400


class Denied(Refusal):
    status = 403


class NotFound(Refusal):
    status = 404


class Conflict(Refusal):
    status = 409


class Limited(Refusal):
    status = 429

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.retry_after_s = retry_after_s


class Unavailable(Refusal):
    """`outcome` is 'none' (nothing was done) or 'unknown' (the answer was lost)."""

    status = 503

    def __init__(self, message: str, *, outcome: str = "none") -> None:
        super().__init__(message, outcome=outcome)
        self.outcome = outcome


class TooLarge(Invalid):
    status = 413


class Unauthenticated(Denied):
    status = 401
    headers: ClassVar[Mapping[str, str]] = {"www-authenticate": "Bearer"}


class Gone(NotFound):
    status = 410
    title = "It was here, and is no more"


class Mismatch(Conflict):
    status = 422


class Kind(msgspec.Struct, frozen=True):
    """How one kind is shown: to a program that reads HTTP, and to a shell."""

    name: str
    title: str
    exit_code: int


KINDS: Mapping[type[Refusal], Kind] = {
    Invalid: Kind("invalid", "The request is wrong", 2),
    Denied: Kind("denied", "This is not allowed", 3),
    NotFound: Kind("not-found", "There is no such thing", 4),
    Conflict: Kind("conflict", "The state does not allow it now", 5),
    Limited: Kind("limited", "Too much at once", 6),
    Unavailable: Kind("unavailable", "Something that this needs is away", 7),
}
FAULT = Kind("fault", "Something is broken here", 70)


def kind_of(error: BaseException) -> Kind:
    """The row of the table for `error`; FAULT for whatever is no refusal."""
    for ancestor in type(error).__mro__:
        if ancestor in KINDS:
            return KINDS[ancestor]
    return FAULT


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of a refusal (RFC 9457). `type` names the error, so that a program need not read
    `detail`.
    """

    type: str
    title: str
    status: int
    detail: str = ""
    instance: str = ""
    facts: Mapping[str, str | int | float] = {}


def shown(error: BaseException, *, instance: str = "") -> Problem:
    """`error` as HTTP shows it. A fault says nothing of its inside."""
    kind = kind_of(error)
    if not isinstance(error, Refusal):
        return Problem(f"urn:bastide:{kind.name}", kind.title, 500, instance=instance)
    own = "".join(f"-{c.lower()}" if c.isupper() else c for c in type(error).__name__).lstrip("-")
    title = error.title or kind.title
    return Problem(f"urn:bastide:{own}", title, error.status, str(error), instance, error.facts)


def refusal_of(status: int, body: bytes) -> Refusal:
    """What a door of ours refused, from its reply: the kind by `status`, and its words."""
    try:
        problem = msgspec.json.decode(body, type=Problem)
        told = problem.detail or problem.title
    except msgspec.MsgspecError:
        told = f"the town answered {status}"
    if status == Limited.status:
        return Limited(told, retry_after_s=1)
    kinds: tuple[type[Refusal], ...] = (*KINDS, TooLarge, Unauthenticated, Gone, Mismatch)
    other = Invalid if status < 500 else Unavailable
    return next((kind for kind in kinds if kind.status == status), other)(told)
