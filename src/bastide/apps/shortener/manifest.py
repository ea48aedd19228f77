"""What the shortener is, and how it opens."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import get_args

from bastide.apps.shortener.contract import CLICKS, LINKS
from bastide.apps.shortener.model import Settings
from bastide.apps.shortener.service.clicks import COUNTS, Clicks
from bastide.apps.shortener.service.days import Bell
from bastide.apps.shortener.service.lookup import Lookup
from bastide.apps.shortener.service.maker import Maker
from bastide.apps.shortener.service.moderation import Moderation
from bastide.apps.shortener.service.shortener import Shortener
from bastide.apps.shortener.service.teller import Teller
from bastide.apps.shortener.service.upkeep import Upkeep
from bastide.base.events import Consume
from bastide.base.manifest import Address, Manifest, Reach, Use
from bastide.engines.bus.contract import Bus
from bastide.engines.cache.contract import Cache
from bastide.engines.ids.contract import Ids
from bastide.engines.pubsub.contract import PubSub
from bastide.engines.sql.contract import Database
from bastide.parts.visitor.visitors import open_visitors


@asynccontextmanager
async def open_shortener(use: Use) -> AsyncIterator[Shortener]:
    settings, db = use.settings(Settings), use(Database)
    base = settings.public_address or use.address()
    maker = Maker(settings, use(Ids), own=(base, use.address(), use.town.address_of("")))
    cache = use(Cache) if shared_alike(use) else None
    lookup, teller = Lookup(db, cache), Teller(db, use(Bus))
    moderation, bell = Moderation(db, use(Ids), lookup, teller), Bell(use(PubSub))
    clicks = Clicks(db, use(Bus), bell, synced=settings.clicks == "synced")
    upkeep, visitors = Upkeep(settings, db, teller), open_visitors()
    yield Shortener(
        *(db, maker, clicks, lookup, bell, moderation, upkeep, teller, visitors), base=base
    )


def shared_alike(use: Use) -> bool:
    """Whether all who share the database share the cache."""
    distances: Sequence[Reach] = get_args(Reach)
    return distances.index(use.reach(Cache)) >= distances.index(use.reach(Database))


MANIFEST = Manifest(
    name="shortener",
    floor="apps",
    summary="Short links that redirect, and exact counts of who followed them.",
    provides=Shortener,
    needs=(Database, Ids, Cache, PubSub, Bus),
    open=open_shortener,
    settings=Settings,
    migrations="bastide.apps.shortener.tables:MIGRATIONS",
    publishes=(LINKS, CLICKS),
    consumes=(
        Consume(topic=CLICKS, group=COUNTS, handler="bastide.apps.shortener.workers:count_clicks"),
        Consume(topic=LINKS, group="cache", calls="bastide.apps.shortener.workers:let_changed_go"),
    ),
    doors=(
        "bastide.apps.shortener.api:ROWS",
        "bastide.apps.shortener.pages:ROWS",
    ),
    workers=(
        "bastide.apps.shortener.workers:announce_ended",
        "bastide.apps.shortener.workers:clean",
    ),
    commands="bastide.apps.shortener.commands:COMMANDS",
    benches="bastide.apps.shortener.bench:BENCHES",
    address=Address("http", 8801),
    try_line="open {http}/ in a browser",
)
