"""One way to change rows that several processes may want to create at once."""

from typing import TypeVar

from bastide.base.tx import Duplicate
from bastide.engines.sql.contract import Body, Contended, Database

T = TypeVar("T")

ATTEMPTS_MAX = 8


async def agreed(db: Database, body: Body[T]) -> T:
    """`db.transact(body)`, run again if somebody else created the row that `body` found missing.

    Raises:
        Contended: they did so ATTEMPTS_MAX times. Also as `transact`.
    """
    for _ in range(ATTEMPTS_MAX):
        try:
            return await db.transact(body)
        except Duplicate:
            continue
    raise Contended(f"others created the same row {ATTEMPTS_MAX} times")
