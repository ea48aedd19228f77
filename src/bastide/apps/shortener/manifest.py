"""What the shortener is, and how it opens."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bastide.apps.shortener.model import Settings
from bastide.apps.shortener.service.clicks import open_clicks
from bastide.apps.shortener.service.maker import Maker
from bastide.apps.shortener.service.shortener import Shortener
from bastide.base.manifest import Address, Manifest, Use
from bastide.engines.ids.contract import Ids
from bastide.engines.sql.contract import Database


@asynccontextmanager
async def open_shortener(use: Use) -> AsyncIterator[Shortener]:
    settings, db = use.settings(Settings), use(Database)
    base = settings.public_address or use.address()
    maker = Maker(settings, use(Ids), own=(base, use.address(), use.town.address_of("")))
    async with open_clicks(use.directory() / "clicks", db, settings) as clicks:
        use.runtime.metrics.gauge(
            "bastide_shortener_clicks_unfolded",
            "Clicks in the journal that are not in the totals yet.",
            lambda: clicks.unfolded,
        )
        yield Shortener(db, maker, clicks, base=base)


MANIFEST = Manifest(
    name="shortener",
    floor="apps",
    summary="Short links that redirect, and exact counts of who followed them.",
    provides=Shortener,
    needs=(Database, Ids),
    open=open_shortener,
    settings=Settings,
    migrations="bastide.apps.shortener.tables:MIGRATIONS",
    doors=(
        "bastide.apps.shortener.api:ROWS",
        "bastide.apps.shortener.pages:ROWS",
    ),
    workers=(
        "bastide.apps.shortener.workers:fold_clicks",
        "bastide.apps.shortener.workers:trim_clicks",
    ),
    commands="bastide.apps.shortener.commands:COMMANDS",
    benches="bastide.apps.shortener.bench:BENCHES",
    address=Address("http", 8801),
    try_line="open {http}/ in a browser",
)
