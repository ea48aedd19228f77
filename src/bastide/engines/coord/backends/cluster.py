"""`cluster://one:2380,two:2380,three:2380?me=1`: a node of a group, kept on this machine's disk."""

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from bastide.base.errors import Invalid
from bastide.base.manifest import Use
from bastide.base.rt.net import bind
from bastide.base.settings import BackendUrl
from bastide.engines.coord.model import ClusterOptions, Settings
from bastide.engines.coord.service.node import Plan, open_node
from bastide.engines.coord.service.serving import Serving, opened_serving
from bastide.parts.raft.contract import MEMBERS_MAX
from bastide.parts.raft.transport.links import Address


@asynccontextmanager
async def open_cluster(url: BackendUrl, use: Use) -> AsyncIterator[Serving]:
    """Listens to its peers at its own address. It waits for nobody: while a majority is away, what
    is asked of it is refused in time.

    Raises:
        Invalid: addresses or options that are none. OSError: its address can't be had.
    """
    plan = plan_of(url)
    settings = use.settings(Settings)
    listen = url.options(ClusterOptions).listen
    mine = _address(listen) if listen else plan.peers[plan.me]
    listener = bind(mine.host, mine.port)
    async with (
        open_node(use.directory(), settings, plan, listener) as node,
        opened_serving(node) as serving,
    ):
        yield serving


def plan_of(url: BackendUrl) -> Plan:
    """
    Raises:
        Invalid
    """
    options = url.options(ClusterOptions)
    names = [name.strip() for name in url.location.split(",") if name.strip()]
    peers: Mapping[int, Address] = {n: _address(name) for n, name in enumerate(names, 1)}
    first = options.first or len(names)
    if not 1 <= len(names) <= MEMBERS_MAX or len(set(names)) != len(names):
        raise Invalid(f"{url.safe}: 1 to {MEMBERS_MAX} different host:port are expected")
    if options.me not in peers:
        raise Invalid(f"{url.safe}: me={options.me}; 1 to {len(names)} is expected")
    if not 1 <= first <= len(names):
        raise Invalid(f"{url.safe}: first={first}; 1 to {len(names)} is expected")
    named = hashlib.sha256(",".join(names[:first]).encode()).hexdigest()[:16]
    return Plan(me=options.me, peers=peers, first=first, cluster=named)


def _address(name: str) -> Address:
    host, _, port = name.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise Invalid(f"{name!r}: host:port is expected")
    return Address(host.strip("[]"), int(port))
