"""The console's beat."""

import asyncio

from bastide.apps.console.service.console import Console

BEAT_S = 2.0


async def watch(console: Console) -> None:
    """A look at the town every BEAT_S, so that the lines have points at equal distances."""
    while True:
        await console.beat()
        await asyncio.sleep(BEAT_S)
