"""What the mint is, and how it opens."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bastide.base.manifest import Manifest, Use
from bastide.engines.ids.contract import Ids
from bastide.engines.ids.model import Settings
from bastide.engines.ids.service.id_mint import IdMint
from bastide.engines.sql.contract import Database


@asynccontextmanager
async def open_ids(use: Use) -> AsyncIterator[IdMint]:
    ids = IdMint(use.settings(Settings), db=use(Database))
    await ids.start()
    try:
        yield ids
    finally:
        await ids.stop()


MANIFEST = Manifest(
    name="ids",
    floor="engines",
    summary="Numbers, codes and keys that never repeat.",
    provides=Ids,
    open=open_ids,
    needs=(Database,),
    settings=Settings,
    migrations="bastide.engines.ids.tables:MIGRATIONS",
    doors=("bastide.engines.ids.api:DOORS",),
    workers=(
        "bastide.engines.ids.workers:keep_lease",
        "bastide.engines.ids.workers:keep_pools_filled",
    ),
    benches="bastide.engines.ids.bench:BENCHES",
    exempt={
        "repeat": "asked again it gives another number, code or key; the first one is a gap, which "
        "the contract allows, and nothing else was changed"
    },
    try_line="curl '{http}/api/new?count=3'",
)
