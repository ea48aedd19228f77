"""How records, sizes and partitions are shown."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from bastide.base.html.figures import bytes_text, size_text
from bastide.engines.log.contract import Entry
from bastide.engines.log.service.operator import GroupSeen, TopicSeen

STAMP_MS_MAX = 253_402_300_799_000  # the year 9999; what clients stamp is theirs
BAR = 100.0


class EntrySeen(msgspec.Struct, frozen=True):
    """`at` is the time of day, `exact` the whole stamp. `key` and `value` None: there is none.
    `size`: of the value, as text.
    """

    partition: int
    offset: int
    at: str
    exact: str
    key: str | None
    value: str | None
    size: str


class Place(msgspec.Struct, frozen=True):
    """Where a group is in a partition, in hundredths of the bar's width."""

    group: str
    x: float
    committed: int


class PartitionSeen(msgspec.Struct, frozen=True):
    """`width`: how much it holds beside the fullest of them, in hundredths."""

    number: int
    first: int
    next: int
    size: str
    width: float
    places: Sequence[Place]


def entry_seen(entry: Entry) -> EntrySeen:
    record = entry.record
    at = datetime.fromtimestamp(min(max(0, entry.stamp_ms), STAMP_MS_MAX) / 1000, UTC)
    key = None if record.key is None else bytes_text(record.key)
    value = None if record.value is None else bytes_text(record.value)
    size = size_text(len(record.value or b""))
    when = f"{at:%H:%M:%S}.{at.microsecond // 1000:03}"
    exact = at.isoformat(timespec="milliseconds")
    return EntrySeen(entry.partition, entry.offset, when, exact, key, value, size)


def partitions_seen(topic: TopicSeen, readers: Sequence[GroupSeen]) -> Sequence[PartitionSeen]:
    most = max((ends.next - ends.first for ends in topic.ends), default=0) or 1
    places: dict[int, list[Place]] = {}
    for group in readers:
        for one in group.progress:
            if one.topic == topic.topic.name and one.committed is not None:
                x = BAR * max(0, one.committed - one.first) / most
                place = Place(group.name, round(x, 1), one.committed)
                places.setdefault(one.partition, []).append(place)
    return [
        PartitionSeen(
            number,
            ends.first,
            ends.next,
            size_text(ends.bytes),
            round(BAR * (ends.next - ends.first) / most, 1),
            places.get(number, ()),
        )
        for number, ends in enumerate(topic.ends)
    ]
