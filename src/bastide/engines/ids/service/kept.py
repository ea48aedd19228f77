"""What is decided once for a database, by whoever comes first, and holds for good."""

from bastide.base.tx import Tx
from bastide.engines.ids.service.rows import agreed
from bastide.engines.ids.tables import KEPT_ADD, KEPT_FIND
from bastide.engines.sql.contract import Database


async def kept(db: Database, name: str, proposal: bytes) -> bytes:
    """What is kept as `name`: `proposal`, if nothing was.

    Raises: as `Database.transact`.
    """

    async def body(tx: Tx) -> bytes:
        found = await tx.one(KEPT_FIND, id=name)
        if found is None:
            await tx.run(KEPT_ADD, name=name, value=proposal)
        return proposal if found is None else found

    return await agreed(db, body)
