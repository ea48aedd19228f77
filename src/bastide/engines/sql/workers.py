"""Background work of a database."""

from bastide.base.work import every
from bastide.engines.sql.service import Sql

SWEEP_S = 600.0


async def sweep_once(sql: Sql) -> None:
    """Forgets old replies, until cancelled."""

    async def step() -> None:
        await sql.sweep()

    await every(SWEEP_S, step)
