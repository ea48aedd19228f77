"""Topics and their partitions, on this machine's disk.

    DATA/log/journal/            topics, offsets, groups, producers, transactions
    DATA/log/topics/NAME-7/0/    the seglog of partition 0; 7 tells it from an older topic's

A partition is opened when it is first asked for. A topic is in the journal before its directory is
made, and out of it before its files go; what is left of one that is not there is removed at the
start.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated

import msgspec

from bastide.base.errors import Unavailable
from bastide.base.rt import runtime
from bastide.engines.log.contract import (
    PARTITIONS_MAX,
    LogAway,
    Topic,
    TopicExists,
    TopicMissing,
    TopicRefused,
)
from bastide.engines.log.service.checks import check_new, check_partition
from bastide.engines.log.service.fences import Fences
from bastide.engines.log.service.journal import Journal, Key, open_journal
from bastide.engines.log.service.partition import Partition, open_partition
from bastide.parts.seglog.contract import Options

PRODUCER_IDS = 1_000  # taken at once: a restart leaves out the rest
TRIM_S = 30.0
MEND_S = 0.2
_log = logging.getLogger(__name__)
TOPIC_AT = {"partition": 1, "offset": 2, "pending": 3}  # in keys of the journal
MB = 1 << 20


class Settings(msgspec.Struct, frozen=True):
    """How the log is kept."""

    segment_mb: Annotated[
        int, msgspec.Meta(ge=1, le=1024, description="size of a partition's files")
    ] = 64
    buffer_mb: Annotated[
        int, msgspec.Meta(ge=1, le=1024, description="what may wait to be written, a partition")
    ] = 64
    partitions: Annotated[
        int, msgspec.Meta(ge=1, le=PARTITIONS_MAX, description="of a topic made on first use")
    ] = 1
    auto_create: Annotated[
        bool, msgspec.Meta(description="make a topic when a Kafka client first uses it")
    ] = True
    record_mb: Annotated[
        int, msgspec.Meta(ge=1, le=7, description="most of a batch of records that is taken")
    ] = 2
    frame_mb: Annotated[
        int, msgspec.Meta(ge=1, le=1024, description="most of a request of a Kafka client")
    ] = 100
    connections: Annotated[
        int, msgspec.Meta(ge=1, description="of Kafka clients; one more is closed")
    ] = 5_000
    pending_mb: Annotated[
        int, msgspec.Meta(ge=1, description="of requests that wait for the disk, all together")
    ] = 512


class Kept(msgspec.Struct, frozen=True):
    """A topic in the journal."""

    topic: Topic
    number: int  # of topics that were ever made


class Shelf:
    """A topic, and those of its partitions that are open."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept
        self.made = asyncio.Event()  # it is in the journal for good: a crash forgets it no more
        self.open: dict[int, Partition] = {}
        self.opening = asyncio.Lock()
        self.stack = AsyncExitStack()

    @property
    def topic(self) -> Topic:
        return self.kept.topic


class Broker:
    def __init__(self, directory: Path, journal: Journal, settings: Settings) -> None:
        self.settings = settings
        self.journal = journal
        self.fences = Fences(journal)
        self.cluster_id = journal.get(("cluster",), str) or ""
        self._directory = directory / "topics"
        self._options = Options(
            segment_bytes=settings.segment_mb * MB, buffered_bytes_max=settings.buffer_mb * MB
        )
        self._shelves: dict[str, Shelf] = {}
        self._numbers = 0
        self._producer_ids = iter(range(0))
        self.on_opened: Callable[[Partition], None] = _nothing  # called for each partition, once
        for _, kept in journal.items("topic", Kept):
            shelf = self._shelves[kept.topic.name] = Shelf(kept)
            shelf.made.set()
            self._numbers = max(self._numbers, kept.number)
        self._numbers = max(self._numbers, journal.get(("numbers",), int) or 0)

    # --- topics ---------------------------------------------------------------------------------

    @property
    def topics(self) -> Mapping[str, Topic]:
        """By name."""
        return {name: shelf.topic for name, shelf in sorted(self._shelves.items())}

    def topic(self, name: str) -> Topic:
        """
        Raises:
            TopicMissing
        """
        return self._shelf(name).topic

    def has(self, topic: str, number: int) -> bool:
        shelf = self._shelves.get(topic)
        return shelf is not None and 0 <= number < shelf.topic.partitions

    def count(self, topic: str) -> int:
        """Of its partitions; 0: there is no such topic."""
        shelf = self._shelves.get(topic)
        return shelf.topic.partitions if shelf else 0

    def check_new(self, topic: Topic) -> None:
        """
        Raises:
            TopicRefused, TopicExists
        """
        if topic.name in self._shelves:
            raise TopicExists(f"topic {topic.name} exists")
        check_new(topic, len(self._shelves))

    async def create(self, topic: Topic) -> None:
        """
        Raises:
            TopicRefused, TopicExists, LogAway
        """
        self.check_new(topic)
        self._numbers += 1
        kept = Kept(topic, self._numbers)
        self._put(("numbers",), kept.number)
        shelf = self._shelves[topic.name] = Shelf(kept)
        try:
            await self._keep(kept)
        except LogAway:
            del self._shelves[topic.name]
            raise
        finally:
            shelf.made.set()

    async def ensure(self, name: str) -> Topic:
        """The topic, made if it is not there. Raises as `create` does."""
        if name not in self._shelves:
            with suppress(TopicExists):
                await self.create(Topic(name, partitions=self.settings.partitions))
        return self._shelf(name).topic

    async def change(self, topic: Topic) -> None:
        """Its keeping, or to more partitions.

        Raises:
            TopicMissing, TopicRefused, LogAway
        """
        shelf = self._shelf(topic.name)
        if not shelf.topic.partitions <= topic.partitions <= PARTITIONS_MAX:
            now = f"{topic.name} has {shelf.topic.partitions}"
            raise TopicRefused(
                f"{topic.partitions} partitions; {now}, and {PARTITIONS_MAX} at most"
            )
        shelf.kept = Kept(topic, shelf.kept.number)
        await self._keep(shelf.kept)

    async def delete(self, name: str) -> None:
        """With all its records, and what groups have committed there.

        Raises:
            TopicMissing, LogAway
        """
        shelf = self._shelf(name)
        place = self._put(("topic", name), None)
        del self._shelves[name]
        for kind, at in TOPIC_AT.items():
            for key, _ in self.journal.items(kind, msgspec.Raw):
                if key[at] == name:
                    place = self._put(key, None)
        await self._kept(place)
        async with shelf.opening:
            await shelf.stack.aclose()
            shelf.open.clear()
        self._remove(self._directory / directory_of(shelf.kept))

    async def _keep(self, kept: Kept) -> None:
        await self._kept(self._put(("topic", kept.topic.name), kept))

    def _put(self, key: Key, value: object) -> int:
        try:
            return self.journal.put(key, value)
        except Unavailable as error:
            raise LogAway(str(error)) from error

    async def _kept(self, place: int) -> None:
        try:
            await self.journal.kept(place)
        except Unavailable as error:
            raise LogAway(str(error), outcome="unknown") from error

    def _shelf(self, name: str) -> Shelf:
        try:
            return self._shelves[name]
        except KeyError:
            raise TopicMissing(f"there is no topic {name[:100]!r}") from None

    # --- partitions -----------------------------------------------------------------------------

    def opened(self, topic: str, number: int) -> Partition | None:
        """The partition, if it is open: for who can't wait."""
        shelf = self._shelves.get(topic)
        return shelf.open.get(number) if shelf else None

    async def partition(self, topic: str, number: int) -> Partition:
        """
        Raises:
            TopicMissing, PartitionRefused. LogAway: it can't be opened now.
        """
        shelf = self._shelf(topic)
        found = shelf.open.get(number)
        if found is not None:
            return found
        check_partition(topic, number, shelf.topic.partitions)
        await shelf.made.wait()
        if self._shelf(topic) is not shelf:  # it was not made after all, or was deleted meanwhile
            return await self.partition(topic, number)
        async with shelf.opening:
            if number not in shelf.open:
                directory = self._directory / directory_of(shelf.kept) / str(number)
                try:
                    opened = await open_partition(
                        shelf.stack, directory, topic, number, self.journal, self._options
                    )
                except (OSError, Unavailable) as error:
                    raise LogAway(f"{topic} {number} can't be opened now: {error}") from error
                self.on_opened(opened)
                shelf.open[number] = opened
        return shelf.open[number]

    async def partitions(self, topic: str) -> Sequence[Partition]:
        """All of them. Raises as `partition` does."""
        return [
            await self.partition(topic, number) for number in range(self.topic(topic).partitions)
        ]

    # --- producers ------------------------------------------------------------------------------

    async def fresh_producer_id(self) -> int:
        """One that no producer has had.

        Raises:
            LogAway
        """
        found = next(self._producer_ids, None)
        while found is None:
            first = self.journal.get(("producer-ids",), int) or 1_000
            await self._kept(self._put(("producer-ids",), first + PRODUCER_IDS))
            self._producer_ids = iter(range(first, first + PRODUCER_IDS))
            found = next(self._producer_ids, None)
        return found

    # --- keeping --------------------------------------------------------------------------------

    async def trim(self) -> None:
        """Drops what no topic keeps any more."""
        now_ms = runtime.now_ms()
        for shelf in list(self._shelves.values()):
            topic = shelf.topic
            before_ms = None if topic.kept_ms is None else now_ms - topic.kept_ms
            for partition in list(shelf.open.values()):
                await partition.trim(bytes_max=topic.kept_bytes, stamped_before_ms=before_ms)

    async def mend(self) -> None:
        """Opens again what has failed.

        Raises:
            Unavailable: it can't be opened now.
        """
        if await self.journal.mend():
            _log.warning("the journal of the log had failed, and is open again")
        for shelf in list(self._shelves.values()):
            for partition in list(shelf.open.values()):
                async with shelf.opening:
                    if await partition.mend():
                        told = (partition.topic, partition.number)
                        _log.warning("%s %d had failed, and is open again", *told)

    async def keep_mending(self) -> None:
        while True:
            await asyncio.sleep(MEND_S)
            await self.mend()

    async def keep_trimming(self) -> None:
        while True:
            await asyncio.sleep(TRIM_S)
            await self.trim()

    def check(self) -> None:
        """
        Raises:
            LogAway: the disk refuses.
        """
        try:
            self.journal.check()
        except Unavailable as error:
            raise LogAway(str(error)) from error

    def clear(self) -> None:
        """What a crash has left of topics that were deleted."""
        disk = runtime.current().disk
        disk.make_directory(self._directory)
        known = {directory_of(shelf.kept) for shelf in self._shelves.values()}
        for name in disk.list_directory(self._directory):
            if name not in known:
                self._remove(self._directory / name)

    async def close(self) -> None:
        for shelf in self._shelves.values():
            await shelf.stack.aclose()

    def _remove(self, directory: Path) -> None:
        disk = runtime.current().disk
        with suppress(FileNotFoundError):
            for number in disk.list_directory(directory):
                for file in disk.list_directory(directory / number):
                    disk.remove(directory / number / file)
                (directory / number).rmdir()
            directory.rmdir()


def _nothing(_: Partition) -> None:
    """Nobody cares."""


def directory_of(kept: Kept) -> str:
    return f"{kept.topic.name}-{kept.number}"


@asynccontextmanager
async def open_broker(directory: Path, settings: Settings) -> AsyncIterator[Broker]:
    """The broker whose files are in `directory`, which nobody else has open.

    Raises:
        SegmentDamaged: what the journal had is damaged.
    """
    async with open_journal(directory / "journal") as journal:
        if journal.get(("cluster",), str) is None:
            name = runtime.current().chance.token(12).hex()[:22]
            await journal.kept(journal.put(("cluster",), name))  # others keep it beside offsets
        broker = Broker(directory, journal, settings)
        broker.clear()
        try:
            yield broker
        finally:
            await broker.close()
