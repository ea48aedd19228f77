"""Background work of the mint."""

from bastide.engines.ids.service.id_mint import IdMint


async def keep_lease(ids: IdMint) -> None:
    await ids.keep_lease()


async def keep_pools_filled(ids: IdMint) -> None:
    await ids.keys.keep_filled()
