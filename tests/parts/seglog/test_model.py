"""The log against a list and a dictionary; the format against its inverse."""

import asyncio
import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.parts.seglog import core
from bastide.parts.seglog.contract import Options
from bastide.parts.seglog.core import RECORDS, Batch, Columns, Index, Record
from bastide.parts.seglog.log import open_seglog

PLACE = Path("/log")
SMALL = Options(segment_bytes=1 << 10)

keys = st.none() | st.sampled_from([b"a", b"b", b"c", b""])
records = st.builds(Record, st.none() | st.binary(max_size=200), keys)
steps = st.one_of(
    st.tuples(st.just("append"), st.lists(records, min_size=1, max_size=6)),
    st.tuples(st.just("append_now"), st.binary(max_size=1_000)),
    st.tuples(st.just("opaque"), st.integers(1, 5)),
    st.tuples(st.just("sync"), st.none()),
    st.tuples(st.just("trim"), st.integers(0, 4000)),
    st.tuples(st.just("compact"), st.none()),
    st.tuples(st.just("close"), st.none()),
    st.tuples(st.just("kill"), st.none()),
)


class Model:
    """What must be there (`records`, by offset) and what compaction may have dropped of it."""

    def __init__(self):
        self.records = {}
        self.droppable = set()
        self.next_offset = 0

    def append(self, given):
        for record in given:
            self.records[self.next_offset] = record
            self.next_offset += 1

    def trim(self, first):
        self.records = {n: each for n, each in self.records.items() if n >= first}

    def compact(self):
        newest = {each.key: n for n, each in sorted(self.records.items()) if each.key is not None}
        kept = set(newest.values())
        keyed = {n for n, each in self.records.items() if each.key is not None}
        self.droppable |= keyed - kept


class Play:
    def __init__(self, disks):
        self.disks, self.disk, self.model = disks, disks.new(), Model()

    async def all(self, steps):
        while steps is not None:
            self.disks.use(self.disk)
            async with open_seglog(PLACE, SMALL) as log:
                assert log.repair is None
                await self.check(log)
                steps = await self.until_closed(log, list(steps))
                await self.check(log)
                if steps and steps[0] == "kill":
                    self.disk, steps = self.disk.killed(), steps[1:]

    async def until_closed(self, log, steps):
        while steps:
            verb, argument = steps.pop(0)
            if verb == "kill":
                return ["kill", *steps]
            if verb == "close":
                return steps
            await getattr(self, verb)(log, argument)
        return None

    async def append(self, log, given):
        self.model.append(given)
        assert log.append(given) == self.model.next_offset - 1
        await log.written(log.next_offset - 1)

    async def append_now(self, log, value):
        self.model.append([Record(value)])
        assert log.append_now(value) == self.model.next_offset - 1 < log.written_offset

    async def opaque(self, log, count):
        self.model.next_offset += count
        await log.written(log.append_opaque(bytes(count * 50), offset_count=count))

    async def sync(self, log, _):
        await log.synced(log.next_offset - 1)
        assert log.durable_offset == log.next_offset

    async def trim(self, log, bytes_max):
        self.model.trim(await log.trim(bytes_max=bytes_max))

    async def compact(self, log, _):
        durable = log.durable_offset == log.next_offset
        if durable:  # else what is not durable would count as newest in the model alone
            self.model.compact()
            await log.compact()

    async def check(self, log):
        model = self.model
        assert log.next_offset == log.written_offset == model.next_offset
        found = {e.offset: Record(e.value, e.key) async for e in log.scan(log.first_offset)}
        assert found.items() <= model.records.items()
        assert model.records.keys() - found.keys() <= model.droppable
        offset = log.first_offset
        while batches := log.read(offset, bytes_max=300):
            for batch in batches:
                assert batch.base_offset == offset
                offset = batch.next_offset
        assert offset == log.next_offset


def test_the_log_does_what_a_list_does(disks):
    @settings(max_examples=40 * disks.rounds, deadline=None, database=None)
    @given(st.lists(steps, max_size=30))
    def run(steps):
        asyncio.run(Play(disks).all(steps))

    run()


@settings(max_examples=100, deadline=None, database=None)
@given(st.lists(records, max_size=20), st.integers(0, 1 << 60), st.integers(0, 0xFFFFFFFF))
def test_what_is_encoded_is_decoded(given_records, base, salt):
    payload = Columns.of(given_records).payload()
    batch = Batch(payload, base, base // 2, len(given_records), RECORDS, 5, 9)
    stored = b"before" + core.encode(batch, salt=salt) + payload
    assert core.decode(stored, 6, salt=salt) == batch
    assert list(core.candidates(stored, salt=salt)) == [6]
    assert core.decode(stored, 6, salt=salt ^ 1) is None
    assert core.decode(stored[:-1], 6, salt=salt) is None
    assert len(payload) == Columns.of(given_records).payload_bytes
    found = core.entries(batch)
    assert [Record(each.value, each.key) for each in found] == given_records
    assert [each.offset for each in found] == list(range(base, base + len(given_records)))
    assert core.entries(batch, base + 3) == found[3:]


def test_every_flipped_bit_of_a_batch_is_found():
    payload = Columns.of([Record(b"value", b"key")]).payload()
    batch = Batch(payload, 3, 2, 1, RECORDS, 5, 9)
    stored = core.encode(batch, salt=7) + payload
    for bit in range(len(stored) * 8):
        flipped = bytearray(stored)
        flipped[bit // 8] ^= 1 << bit % 8
        assert core.decode(bytes(flipped), 0, salt=7) is None


@settings(max_examples=50, deadline=None, database=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(100, 60_000), st.integers(0, 3))))
def test_the_index_finds_the_last_place_at_or_before(rows):
    index, offset, position, stamp = Index(), 0, 0, 0
    places = []
    for count, size, passed_ms in rows:
        stamp += passed_ms
        index.add(offset=offset, position=position, stamp_ms=stamp)
        places.append((offset, position, stamp))
        offset, position = offset + count, position + size
    for at, where, stamp in places:
        found_offset, found_position = index.place_of(at)
        assert found_offset <= at
        assert 0 <= where - found_position < core.INDEX_EVERY_BYTES
        before = index.place_before(stamp)
        older = [each for each in places if each[2] < stamp]
        assert before is None or (before[0], before[1]) in [each[:2] for each in older]
    end = core.mark(next_offset=offset, synced_offset=0, first_ms=0, last_ms=stamp)
    sealed = core.seal(index, end=end)
    assert core.seal_bytes(sealed.payload[-core.SEAL_TAIL_BYTES :]) == sealed.size
    assert core.unseal(sealed).__dict__ == index.__dict__


def test_a_sector_of_zeros_is_seen_at_any_place():
    chance = random.Random(3)
    full = bytes(chance.randrange(1, 256) for _ in range(3000))
    assert not core.has_lost_sector(full, position=700)
    for lost in (1024, 1536, 2048):
        at = lost - 700
        bad = full[:at] + bytes(512) + full[at + 512 :]
        assert core.has_lost_sector(bad, position=700)
    assert core.has_lost_sector(bytes(324) + full, position=700)
    assert not core.has_lost_sector(bytes(7) + full, position=505)
    assert core.has_lost_sector(bytes(8) + full, position=504)


@given(st.binary(max_size=200), *[st.integers(0, 1 << 40)] * 4)
def test_a_record_alone_is_written_as_a_batch_of_one_and_a_mark(value, offset, synced, first, ms):
    payload = Columns.of([Record(value)]).payload()
    batch = Batch(payload, offset, synced, 1, RECORDS, ms, ms)
    mark = core.mark(next_offset=offset + 1, synced_offset=synced, first_ms=first, last_ms=ms)
    written = core.alone(value, salt=7, offset=offset, synced_offset=synced, first_ms=first, ms=ms)
    assert written == core.encode(batch, salt=7) + payload + core.encode(mark, salt=7)
    assert len(written) == core.ALONE_BYTES + len(value)
