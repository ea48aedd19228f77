"""bus: events, each with its effect exactly once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bastide.base.manifest import Manifest, Miswired, Use
from bastide.engines.bus.contract import Bus
from bastide.engines.bus.model import MB, Settings
from bastide.engines.bus.service.bus import ClientBus
from bastide.engines.bus.service.hub import Hub
from bastide.engines.bus.service.journal import open_journal
from bastide.engines.bus.tables import MIGRATIONS
from bastide.engines.log.contract import Log
from bastide.engines.sql.contract import Database


@asynccontextmanager
async def open_bus(use: Use) -> AsyncIterator[ClientBus]:
    client, db, settings = use.client, use(Database), use.settings(Settings)
    for topic in client.publishes:
        if topic.system != client.name:
            raise Miswired(f"{client.name} publishes in {topic.name}, which is another's")
    await db.migrate("bus", MIGRATIONS)
    bytes_max = settings.journal_mb_max * MB
    async with open_journal(use.directory() / "bus", bytes_max=bytes_max) as journal:
        exclusive = use.reach(Database) == "process"
        bus = ClientBus(
            client.name, client.publishes, db, use(Log), journal, settings, exclusive=exclusive
        )
        await bus.drain.begin()
        for row in client.consumes:
            bus.subscribe(row)
        _show(use, bus)
        await bus.prepare()
        use.backend(Hub).add(bus)
        use.spawn(f"outbox-of-{client.name}", bus.outbox.run)
        use.spawn(f"journal-of-{client.name}", bus.drain.run)
        yield bus


def _show(use: Use, bus: ClientBus) -> None:
    metrics, client = use.runtime.metrics, bus.client
    metrics.gauge(
        "bastide_bus_waiting",
        "Events in the outbox, about.",
        lambda: bus.outbox.waiting,
        client=client,
    )
    metrics.gauge(
        "bastide_bus_unrelayed",
        "Events in the journal that are not in the log yet.",
        lambda: bus.drain.unrelayed,
        client=client,
    )
    for consumer in bus.consumers.values():
        metrics.gauge(
            "bastide_bus_handled_total",
            "Events that had their effect.",
            lambda one=consumer: one.handled,  # type: ignore[misc] # mypy can't infer a default
            group=consumer.group,
        )
        metrics.gauge(
            "bastide_bus_dead_total",
            "Events that became dead letters.",
            lambda one=consumer: one.dead,  # type: ignore[misc] # as above
            group=consumer.group,
        )


MANIFEST = Manifest(
    name="bus",
    floor="engines",
    summary="Events leave with the rows they tell of, and have their effect exactly once.",
    provides=Bus,
    needs=(Database, Log),
    open=open_bus,
    hub="bastide.engines.bus.service.hub:open_hub",
    settings=Settings,
    doors=(
        "bastide.engines.bus.api:ROWS",
        "bastide.engines.bus.pages:ROWS",
    ),
    commands="bastide.engines.bus.commands:COMMANDS",
    benches="bastide.engines.bus.bench:BENCHES",
    try_line="curl {http}/api/relays",
)
