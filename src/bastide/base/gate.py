"""Who is calling, and whether this door is open to them.

A gate turns credentials into a Caller or raises Denied or Limited. Systems provide gates (identity,
limits); the town puts them before every door. Without them everybody is anonymous, and a bearer
that no gate knows stays in `caller.credential`, so that a system's own key (a link's manage key)
can pass.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from bastide.base.errors import Denied, Unauthenticated


class Credentials(msgspec.Struct, frozen=True):
    """What a request shows. `address` is the client's, after trusted proxies; `loopback`: it is
    this machine, and nobody forwarded it.
    """

    address: str = ""
    loopback: bool = False
    bearer: str | None = None


class Door(msgspec.Struct, frozen=True):
    """Where the request wants to go: the system, and the row's name."""

    system: str
    name: str


class Caller(msgspec.Struct, frozen=True):
    """`user` is None for anybody; `credential` is a bearer that no gate knew; `operator` runs the
    town.
    """

    user: int | None = None
    credential: str | None = None
    operator: bool = False
    address: str = ""


class Gate(Protocol):
    async def admit(self, credentials: Credentials, door: Door, caller: Caller) -> Caller:
        """`caller`, with what this gate knows added.

        Raises:
            Denied, Limited: the door stays shut.
        """
        ...


def stranger(credentials: Credentials) -> Caller:
    """Who calls, as long as no gate has looked."""
    return Caller(
        credential=credentials.bearer, operator=credentials.loopback, address=credentials.address
    )


async def admit(gates: Sequence[Gate], credentials: Credentials, door: Door) -> Caller:
    caller = stranger(credentials)
    for gate in gates:
        caller = await gate.admit(credentials, door, caller)
    return caller


Allow = Callable[[Caller], None]


def anyone(caller: Caller) -> None:
    """The door is open; the verb behind it may still want a key."""


def operator(caller: Caller) -> None:
    """Only whoever sits at this machine: no proxy in between."""
    if not caller.operator:
        raise Denied("only from the machine that the town runs on")


def holder(caller: Caller) -> None:
    """Whoever shows a bearer; the verb behind the door checks it."""
    if caller.credential is None and caller.user is None:
        raise Unauthenticated("send `Authorization: Bearer KEY` with the key you were given")
