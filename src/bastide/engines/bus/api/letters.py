"""Dead letters of a system: looked at, replayed, discarded."""

from bastide.engines.bus.api.shapes import (
    LetterShown,
    LettersShown,
    Limit,
    Offset,
    letter_listed,
    letter_shown,
)
from bastide.engines.bus.service.hub import Hub


async def list_letters(
    hub: Hub, system: str, before: Offset | None = None, limit: Limit = 50
) -> LettersShown:
    """Dead letters of a system, the newest first. Go on `before` what `next` says."""
    shelf = await hub.shelf(system, before=before, limit=limit)
    return LettersShown([letter_listed(one) for one in shelf.items], shelf.next)


async def read_letter(hub: Hub, system: str, offset: Offset) -> LetterShown:
    """One dead letter, with what the log held."""
    return letter_shown(await hub.letter(system, offset))


async def replay_letter(hub: Hub, system: str, offset: Offset) -> None:
    """Its event has its effect now, once: a second time is refused. If its handler fails again, it
    stays a dead letter.
    """
    await hub.replay(system, offset)


async def discard_letter(hub: Hub, system: str, offset: Offset) -> None:
    """Its event never has an effect."""
    await hub.discard(system, offset)
