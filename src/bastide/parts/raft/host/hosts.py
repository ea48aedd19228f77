"""The groups of one node: one transport, a directory and a log for each.

Their messages share frames and their heartbeats come together; their syncs are their own.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from bastide.base.errors import Conflict
from bastide.parts.raft.contract import GROUPS_MAX, Members, OptionInvalid, Options
from bastide.parts.raft.host.host import RaftHost
from bastide.parts.raft.host.life import Seat
from bastide.parts.raft.host.machine import Keeping, StateMachine
from bastide.parts.raft.transport.links import Transport

R = TypeVar("R")


@asynccontextmanager
async def open_hosts(
    directory: Path,
    transport: Transport,
    *,
    options: Options | None = None,
    keeping: Keeping | None = None,
) -> AsyncIterator["RaftHosts"]:
    """No group yet; those that are open when this is left are closed."""
    hosts = RaftHosts(directory, transport, options or Options(), keeping or Keeping())
    try:
        yield hosts
    finally:
        for group in tuple(hosts):
            await hosts.close(group)


class RaftHosts:
    def __init__(
        self, directory: Path, transport: Transport, options: Options, keeping: Keeping
    ) -> None:
        self._directory = directory
        self._transport = transport
        self._options = options
        self._keeping = keeping
        self._hosts: dict[int, RaftHost[Any]] = {}

    def __iter__(self) -> Iterator[int]:
        return iter(self._hosts)

    async def open(self, group: int, machine: StateMachine[R], members: Members) -> RaftHost[R]:
        """
        Raises:
            Conflict: it is open.
            OptionInvalid: GROUPS_MAX are.
            SegmentDamaged, GroupFailed, OSError: as `open_host`.
        """
        if group in self._hosts:
            raise Conflict(f"group {group} is open")
        if len(self._hosts) >= GROUPS_MAX:
            raise OptionInvalid(f"{GROUPS_MAX} groups are open, which is as many as there may be")
        seat = Seat(
            self._transport.node, group, machine, self._transport, self._options, self._keeping
        )
        host = self._hosts[group] = RaftHost(self._directory / f"group-{group}", seat, members)
        try:
            await host.open()
        except BaseException:
            del self._hosts[group]
            await asyncio.shield(host.close())
            raise
        await host.begin()
        return host

    async def close(self, group: int) -> None:
        """Also one that is not open."""
        if host := self._hosts.pop(group, None):
            await host.close()
