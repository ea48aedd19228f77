"""coord: who holds what, who leads, who is there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bastide.base.manifest import Address, Backend, Manifest, Use
from bastide.engines.coord.contract import Coord
from bastide.engines.coord.model import CoordBackend, Settings

_BACKENDS = "bastide.engines.coord.backends"


@asynccontextmanager
async def open_coord(use: Use) -> AsyncIterator[Coord]:
    async with use.backend(CoordBackend).view(use.client.name) as coord:
        yield coord


MANIFEST = Manifest(
    name="coord",
    floor="engines",
    summary="Agreement on keys, locks and leaders; etcd clients speak to it.",
    provides=Coord,
    open=open_coord,
    settings=Settings,
    backends={
        "file": Backend(f"{_BACKENDS}.file:open_file", reach="machine", serves=True),
        "memory": Backend(f"{_BACKENDS}.file:open_memory", reach="process", serves=True),
        "cluster": Backend(f"{_BACKENDS}.cluster:open_cluster", reach="cluster", serves=True),
        "etcd": Backend(f"{_BACKENDS}.etcd.backend:open_etcd", reach="cluster", extra="etcd"),
    },
    backend_default="file://",
    doors=(
        "bastide.engines.coord.api:ROWS",
        "bastide.engines.coord.pages:ROWS",
    ),
    commands="bastide.engines.coord.commands:COMMANDS",
    benches="bastide.engines.coord.bench:BENCHES",
    sims="bastide.engines.coord.sim:SIMULATIONS",
    address=Address("etcd", 2379),
    wire="bastide.engines.coord.wire.server:open_etcd",
    try_line="etcdctl --endpoints {wire} put hello world",
)
