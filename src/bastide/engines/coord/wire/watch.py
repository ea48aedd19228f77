"""Watches: any number on one stream, each a task that passes on what the store tells it."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from bastide.base.errors import Refusal
from bastide.engines.coord.contract import Event, Events, RevisionCompacted, Watch
from bastide.engines.coord.core.protocol.messages import messages
from bastide.engines.coord.core.protocol.statuses import (
    COMPACTED,
    CallFailed,
    Code,
    Status,
    status_of,
)
from bastide.engines.coord.core.protocol.values import NO_DELETES, NO_PUTS, event_message
from bastide.engines.coord.wire.desk import Desk, Talk
from bastide.engines.coord.wire.spans import open_to_strangers

WATCHES_OF_STREAM_MAX = 4_096
FRAGMENT_BYTES = 1 << 20  # of events in one message, for who takes fragments
NO_WATCH = -1
ID_TWICE = Status(Code.INVALID_ARGUMENT, "mvcc: duplicate watch ID provided on the WatchStream")
EVENT_BYTES = 64  # beside its keys and values
_log = logging.getLogger(__name__)
NO_KEY = b"\0"  # what clients write for the empty key


async def watch(desk: Desk, talk: Talk) -> None:
    await desk.require_leader(talk.asker)
    watches = Watches(desk, talk)
    try:
        while (request := await talk.receive()) is not None:
            match request.WhichOneof("request_union"):
                case "create_request":
                    await watches.create(request.create_request)
                case "cancel_request":
                    await watches.cancel(request.cancel_request.watch_id)
                case "progress_request":
                    await watches.tell_progress()
        await watches.ended()
    finally:
        watches.close()


class Watches:
    """Of one stream."""

    def __init__(self, desk: Desk, talk: Talk) -> None:
        self._desk = desk
        self._talk = talk
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._told: dict[int, int] = {}  # revisions up to which all was told
        self._next = 0

    async def create(self, asked: Any) -> None:
        """Its answer leaves before the next request is looked at: clients match them by order."""
        try:
            number = self._number(asked)
            wanted = _wanted(asked)
            self._desk.accounts.admit_read(self._talk.asker.token, asked.key, asked.range_end)
        except CallFailed as refused:
            await self._refuse(NO_WATCH, refused.status.text)
            return
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        work = self._run(number, wanted, begun, fragment=asked.fragment)
        self._tasks[number] = asyncio.ensure_future(work)
        await begun

    def _number(self, asked: Any) -> int:
        if len(self._tasks) >= WATCHES_OF_STREAM_MAX:
            text = f"{WATCHES_OF_STREAM_MAX} watches are on this stream"
            raise CallFailed(Status(Code.RESOURCE_EXHAUSTED, text))
        if asked.watch_id:
            if asked.watch_id in self._tasks:
                raise CallFailed(ID_TWICE)
            return int(asked.watch_id)
        while self._next in self._tasks:
            self._next += 1
        self._next += 1
        return self._next - 1

    async def _refuse(self, number: int, reason: str, *, created: bool = True) -> None:
        await self._talk.send(
            messages().WatchResponse(
                header=await self._desk.header(),
                watch_id=number,
                created=created,
                canceled=True,
                cancel_reason=reason,
            )
        )

    async def _run(
        self, number: int, wanted: Watch, begun: asyncio.Future[None], *, fragment: bool
    ) -> None:
        try:
            async with self._desk.node.watch(wanted) as changes:
                await self._begin(number, wanted, begun)
                async for change in changes:
                    await self._tell(number, change, fragment=fragment)
                    self._told[number] = change.revision
        except RevisionCompacted as compacted:
            if not begun.done():
                await self._begin(number, wanted, begun)
            await self._end_compacted(number, compacted.oldest)
        except Exception as error:
            if not isinstance(error, Refusal):
                _log.exception("a watch failed")
            text = status_of(error).text
            await self._refuse(number, text, created=not begun.done())
        finally:
            if not begun.done():
                begun.set_result(None)
            self._tasks.pop(number, None)
            self._told.pop(number, None)

    async def _begin(self, number: int, wanted: Watch, begun: asyncio.Future[None]) -> None:
        header = await self._desk.header()
        first = wanted.from_revision
        self._told[number] = first - 1 if first else header.revision
        await self._talk.send(
            messages().WatchResponse(header=header, watch_id=number, created=True)
        )
        begun.set_result(None)

    async def _end_compacted(self, number: int, oldest: int) -> None:
        await self._talk.send(
            messages().WatchResponse(
                header=await self._desk.header(),
                watch_id=number,
                canceled=True,
                compact_revision=oldest,
                cancel_reason=COMPACTED.text,
            )
        )

    async def _tell(self, number: int, change: Events, *, fragment: bool) -> None:
        header = await self._desk.header(change.revision)
        pieces = list(_fragments(change.events)) if fragment else [change.events]
        for place, piece in enumerate(pieces):
            await self._talk.send(
                messages().WatchResponse(
                    header=header,
                    watch_id=number,
                    events=[event_message(event) for event in piece],
                    fragment=place < len(pieces) - 1,
                )
            )

    async def cancel(self, number: int) -> None:
        task = self._tasks.pop(number, None)
        if task is None:
            return
        task.cancel()
        await asyncio.wait([task])
        await self._talk.send(
            messages().WatchResponse(
                header=await self._desk.header(), watch_id=number, canceled=True
            )
        )

    async def tell_progress(self) -> None:
        """Up to where all watches of this stream have been told everything."""
        revision = min(self._told.values(), default=None)
        header = await self._desk.header(revision)
        await self._talk.send(messages().WatchResponse(header=header, watch_id=NO_WATCH))

    async def ended(self) -> None:
        """The client asks for no more, and hears on while it stays."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()


def _wanted(asked: Any) -> Watch:
    """
    Raises:
        KEY_RESERVED
    """
    if not asked.key:
        asked.key = NO_KEY
        asked.range_end = asked.range_end or NO_KEY
    open_to_strangers(asked)
    return Watch(
        asked.key,
        asked.range_end,
        from_revision=max(0, asked.start_revision),
        previous=asked.prev_kv,
        puts=NO_PUTS not in asked.filters,
        deletes=NO_DELETES not in asked.filters,
        progress=asked.progress_notify,
    )


def _fragments(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    piece: list[Event] = []
    size = 0
    for event in events:
        bytes_of = _bytes_of(event)
        if piece and size + bytes_of > FRAGMENT_BYTES:
            yield piece
            piece, size = [], 0
        piece.append(event)
        size += bytes_of
    yield piece


def _bytes_of(event: Event) -> int:
    items = [event.item, *([event.previous] if event.previous else [])]
    return sum(len(item.key) + len(item.value) + EVENT_BYTES for item in items)
