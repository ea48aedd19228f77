"""Batches, against a client's codec that is not ours; and what no producer gets in."""

import struct
from contextlib import suppress

import google_crc32c
import pytest
from aiokafka.record._crecords import default_records as in_c
from aiokafka.record.default_records import (
    _DefaultRecordBatchBuilderPy,
    _DefaultRecordBatchPy,
)
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.engines.log.contract import Record
from bastide.engines.log.core import batches
from bastide.engines.log.core.batches import (
    BATCH_RECORDS_MAX,
    BROKER_STAMPED,
    CONTROL,
    COVERED_AT,
    HEADER_BYTES,
    REWOUND_BYTES_MIN,
    SEQUENCES,
    TRANSACTIONAL,
    BatchBroken,
    Header,
    Marker,
    crc_of,
    entries_of,
    header_of,
    made,
    marker,
    marker_of,
    split,
    stamped,
)
from bastide.engines.log.core.codes import Code
from bastide.engines.log.core.compression import UNPACKED_BYTES_MAX, Compression

NOW_MS = 1_700_000_000_000
LIMIT = 8 << 20

names = st.text(max_size=8)
headers = st.lists(st.tuples(names, st.binary(max_size=8)), max_size=3)
records = st.builds(
    Record, st.none() | st.binary(max_size=200), st.none() | st.binary(max_size=20), headers
)
many = st.lists(records, min_size=1, max_size=6)


ONE = (Record(b"value", b"key"),)


def batch_of(given=ONE, **how):
    return made(given, now_ms=NOW_MS, **how)


def with_fields(batch, **fields):
    """The same with other fields in its header, and a CRC that is right."""
    names = (
        *("base_offset", "length", "leader_epoch", "magic", "crc", "attributes"),
        *("last_offset_delta", "first_ms", "max_ms", "producer_id", "producer_epoch"),
        *("base_sequence", "record_count"),
    )
    layout = struct.Struct(">qiibIhiqqqhii")
    values = dict(zip(names, layout.unpack_from(batch), strict=True)) | fields
    changed = layout.pack(*values.values()) + batch[HEADER_BYTES:]
    if "crc" in fields:
        return changed
    crc = google_crc32c.value(changed[COVERED_AT:])
    return changed[:17] + struct.pack(">I", crc) + changed[COVERED_AT:]


def with_body(batch, body):
    length = len(body) + HEADER_BYTES - 12
    return with_fields(batch[:HEADER_BYTES] + body, length=length)


def refused(code, batch, limit=LIMIT):
    with pytest.raises(BatchBroken) as caught:
        split(batch, batch_bytes_max=limit)
    assert caught.value.code == code
    assert caught.value.facts["code"] == code


def unreadable(batch, code=Code.CORRUPT_MESSAGE, **how):
    with pytest.raises(BatchBroken) as caught:
        list(entries_of(batch, **how))
    assert caught.value.code == code


# --- the same as another client -----------------------------------------------------------------


def their_entries(batch, reader):
    found = reader(bytes(batch))
    assert found.validate_crc()
    return [
        (each.offset, each.timestamp, each.value, each.key, [(n, v) for n, v in each.headers])
        for each in found
    ]


def our_entries(batch, **how):
    return [
        (offset, ms, record.value, record.key, [tuple(header) for header in record.headers])
        for offset, ms, record in entries_of(batch, **how)
    ]


@pytest.mark.parametrize("reader", [_DefaultRecordBatchPy, in_c.DefaultRecordBatch])
@settings(max_examples=50, deadline=None)
@given(given_=many, kind=st.sampled_from(Compression))
def test_another_client_reads_what_is_made_here(reader, given_, kind):
    batch = stamped(batch_of(given_, compression=kind), base_offset=77, leader_epoch=3)
    found = their_entries(batch, reader)
    assert found == our_entries(batch)
    assert found == [
        (77 + n, NOW_MS, each.value, each.key, list(each.headers)) for n, each in enumerate(given_)
    ]


@pytest.mark.parametrize("writer", [_DefaultRecordBatchBuilderPy, in_c.DefaultRecordBatchBuilder])
@settings(max_examples=50, deadline=None)
@given(
    given_=many,
    kind=st.sampled_from(Compression),
    delays=st.lists(st.integers(-(2**40), 2**40), min_size=6, max_size=6),
    transactional=st.booleans(),
)
def test_what_another_client_makes_is_taken_and_read(writer, given_, kind, delays, transactional):
    building = writer(
        magic=2,
        compression_type=kind,
        is_transactional=transactional,
        producer_id=9,
        producer_epoch=1,
        base_sequence=5,
        batch_size=1 << 20,
    )
    for n, each in enumerate(given_):
        stamp = NOW_MS + delays[n]
        assert building.append(n, stamp, each.key, each.value, list(each.headers))
    batch = bytes(building.build())
    assert split(batch, batch_bytes_max=LIMIT) == [batch]
    header = header_of(batch)
    assert header.is_transactional == transactional
    assert header.record_count == header.offset_count == len(given_)
    assert header.last_sequence == 5 + len(given_) - 1
    assert our_entries(batch) == [
        (n, NOW_MS + delays[n], each.value, each.key, list(each.headers))
        for n, each in enumerate(given_)
    ]


@given(given_=many)
def test_what_is_made_is_byte_for_byte_what_another_client_makes(given_):
    theirs = _DefaultRecordBatchBuilderPy(
        magic=2,
        compression_type=0,
        is_transactional=1,
        producer_id=9,
        producer_epoch=1,
        base_sequence=5,
        batch_size=1 << 20,
    )
    for n, each in enumerate(given_):
        theirs.append(n, NOW_MS, each.key, each.value, list(each.headers))
    ours = batch_of(given_, producer_id=9, producer_epoch=1, base_sequence=5, transactional=True)
    assert with_fields(ours, leader_epoch=0) == with_fields(bytes(theirs.build()), leader_epoch=0)


def test_the_lengths_of_numbers_are_right_where_they_change():
    sizes = (0, 1, 56, 57, 63, 64, 8183, 8191, 8192, 1 << 20)
    given_ = [Record(bytes(size), bytes(size)) for size in sizes]
    given_ += [Record(b"", None, [("n" * size, bytes(size))]) for size in sizes]
    given_ += [Record(None)] * 9_000
    batch = batch_of(given_)
    found = [record for _, _, record in entries_of(batch)]
    assert [(r.value, r.key, list(r.headers)) for r in found] == [
        (r.value, r.key, list(r.headers)) for r in given_
    ]
    assert len(their_entries(batch, in_c.DefaultRecordBatch)) == len(given_)


def test_a_header_without_a_value_is_one_of_no_bytes():
    theirs = in_c.DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    theirs.append(0, NOW_MS, None, b"v", [("name", None), ("other", b"x")])
    [(_, _, record)] = entries_of(bytes(theirs.build()))
    assert record.headers == (("name", b""), ("other", b"x"))


# --- what comes in ------------------------------------------------------------------------------


def test_a_single_batch_is_handed_back_itself():
    batch = batch_of()
    [found] = split(batch, batch_bytes_max=LIMIT)
    assert found is batch
    assert split(memoryview(batch), batch_bytes_max=LIMIT) == [batch]


@given(st.lists(many, min_size=1, max_size=4))
def test_batches_behind_each_other_are_split(given_):
    all_ = [batch_of(each) for each in given_]
    assert split(b"".join(all_), batch_bytes_max=LIMIT) == all_
    assert split(memoryview(b"x" + b"".join(all_))[1:], batch_bytes_max=LIMIT) == all_


@pytest.mark.parametrize("wrong", [0, 1])
def test_one_that_is_wrong_takes_the_others_with_it(wrong):
    all_ = [batch_of(), batch_of()]
    all_[wrong] = with_fields(all_[wrong], crc=1)
    refused(Code.CORRUPT_MESSAGE, b"".join(all_))


def test_none_at_all_is_refused():
    refused(Code.CORRUPT_MESSAGE, b"")


def test_what_is_cut_off_is_refused_wherever_it_is_cut():
    batch = batch_of()
    for size in range(len(batch)):
        refused(Code.CORRUPT_MESSAGE, batch[:size])
        if size:
            refused(Code.CORRUPT_MESSAGE, batch + batch[:size])


@pytest.mark.parametrize("length", [-(2**31), -1, 0, HEADER_BYTES - 13])
def test_a_length_that_has_no_place_for_a_header_is_refused(length):
    refused(Code.CORRUPT_MESSAGE, with_fields(batch_of(), length=length))


def test_formats_of_the_past_are_refused_as_kafka_refuses_them():
    for magic in (0, 1):
        old = LegacyRecordBatchBuilder(magic, 0, 1 << 20)
        old.append(0, timestamp=NOW_MS, key=None, value=b"")
        whole = bytes(old.build())
        assert len(whole) < HEADER_BYTES
        refused(Code.INVALID_RECORD, whole)
        refused(Code.INVALID_RECORD, with_fields(batch_of(), magic=magic))


@pytest.mark.parametrize("magic", [3, 127, -1])
def test_formats_that_nobody_knows_are_corrupt(magic):
    refused(Code.CORRUPT_MESSAGE, with_fields(batch_of(), magic=magic))


def test_every_flipped_bit_behind_the_crc_is_found():
    batch = batch_of([Record(b"value", b"key")] * 3)
    for at in range(COVERED_AT, len(batch)):
        for bit in range(8):
            flipped = bytearray(batch)
            flipped[at] ^= 1 << bit
            refused(Code.CORRUPT_MESSAGE, bytes(flipped))


@pytest.mark.parametrize("size", [-2, -1, 0, 1, 1000, 900_000])
@given(data=st.data())
def test_a_crc_from_the_whole_is_that_of_the_covered_part(size, data):
    head = data.draw(st.binary(min_size=COVERED_AT, max_size=COVERED_AT))
    fill = data.draw(st.binary(min_size=1, max_size=7))
    rest = (fill * (REWOUND_BYTES_MIN + size))[: REWOUND_BYTES_MIN + size - COVERED_AT]
    assert crc_of(head + rest) == google_crc32c.value(rest)


def test_a_batch_at_the_callers_limit_is_taken_and_a_byte_more_is_not():
    batch = batch_of()
    assert split(batch, batch_bytes_max=len(batch)) == [batch]
    refused(Code.MESSAGE_TOO_LARGE, batch, len(batch) - 1)


@pytest.mark.parametrize("count", [-(2**31), -1, 0, 1, 3, 2**31 - 1])
def test_records_that_do_not_fit_their_offsets_are_refused(count):
    batch = batch_of([Record(b"")] * 2)
    refused(Code.INVALID_RECORD, with_fields(batch, record_count=count))
    refused(
        Code.INVALID_RECORD,
        with_fields(batch, last_offset_delta=count - 1 & 2**31 - 1 if count > 0 else -1),
    )


@pytest.mark.parametrize("count", [-1, 0])
def test_no_records_are_refused_even_if_the_offsets_agree(count):
    batch = with_fields(batch_of(), record_count=count, last_offset_delta=count - 1)
    refused(Code.INVALID_RECORD, batch)


def test_more_records_than_there_is_place_for_are_refused():
    batch = batch_of([Record(None)] * 10)
    assert len(batch) == HEADER_BYTES + 10 * batches.RECORD_BYTES_MIN
    split(batch, batch_bytes_max=LIMIT)
    refused(Code.INVALID_RECORD, with_fields(batch, record_count=11, last_offset_delta=10))


@pytest.mark.limit("log.BATCH_RECORDS_MAX")
def test_a_batch_has_as_many_records_as_allowed_and_not_one_more():
    def claiming(count):
        batch = batch_of(compression=Compression.GZIP)
        return with_fields(batch, record_count=count, last_offset_delta=count - 1)

    split(claiming(BATCH_RECORDS_MAX), batch_bytes_max=LIMIT)
    refused(Code.MESSAGE_TOO_LARGE, claiming(BATCH_RECORDS_MAX + 1))


@pytest.mark.parametrize("attributes", [CONTROL, CONTROL | TRANSACTIONAL, BROKER_STAMPED])
def test_what_only_a_broker_writes_is_refused_from_a_client(attributes):
    batch = batch_of(producer_id=1, producer_epoch=0, base_sequence=0)
    refused(Code.INVALID_RECORD, with_fields(batch, attributes=attributes))


@pytest.mark.parametrize("kind", [5, 6, 7])
def test_a_compression_that_nobody_knows_is_refused(kind):
    batch = with_fields(batch_of(), attributes=kind)
    refused(Code.UNSUPPORTED_COMPRESSION_TYPE, batch)
    unreadable(batch, Code.UNSUPPORTED_COMPRESSION_TYPE)


@pytest.mark.parametrize(
    "producer",
    [
        {"producer_id": -2},
        {"producer_id": -1, "attributes": TRANSACTIONAL},
        {"producer_id": 5, "producer_epoch": -1, "base_sequence": 0},
        {"producer_id": 5, "producer_epoch": 0, "base_sequence": -1},
    ],
)
def test_half_a_producer_is_refused(producer):
    refused(Code.INVALID_RECORD, with_fields(batch_of(), **producer))


def test_a_sequence_goes_on_with_0_behind_the_last():
    batch = batch_of(
        [Record(b"")] * 3, producer_id=1, producer_epoch=0, base_sequence=SEQUENCES - 2
    )
    assert header_of(batch).last_sequence == 0
    assert header_of(batch_of()).last_sequence == -1


def test_a_header_is_found_where_it_is_and_says_what_it_says():
    batch = batch_of(
        [Record(b"v")] * 2,
        producer_id=7,
        producer_epoch=2,
        base_sequence=9,
        transactional=True,
        compression=Compression.ZSTD,
    )
    batch = stamped(batch, base_offset=1 << 40, leader_epoch=12)
    header = header_of(b"xyz" + batch, 3)
    assert header == Header(
        *(1 << 40, len(batch), 12, header.crc, TRANSACTIONAL | Compression.ZSTD, 1, NOW_MS),
        *(NOW_MS, 7, 2, 9, 2),
    )
    assert header.compression == Compression.ZSTD
    assert (header.is_transactional, header.is_control, header.is_broker_stamped) == (1, 0, 0)


@given(given_=many, base=st.integers(0, 2**63 - 1), epoch=st.integers(-1, 2**31 - 1))
def test_a_stamp_changes_two_fields_and_not_the_crc(given_, base, epoch):
    batch = batch_of(given_)
    found = stamped(memoryview(batch), base_offset=base, leader_epoch=epoch)
    assert found == stamped(batch, base_offset=base, leader_epoch=epoch)
    assert found[16:] == batch[16:]
    assert split(found, batch_bytes_max=LIMIT) == [found]
    assert (header_of(found).base_offset, header_of(found).leader_epoch) == (base, epoch)


# --- what is read -------------------------------------------------------------------------------


@given(given_=many, start=st.integers(90, 130))
def test_reading_begins_where_it_is_told(given_, start):
    batch = stamped(batch_of(given_), base_offset=100, leader_epoch=0)
    whole = our_entries(batch)
    assert our_entries(batch, from_offset=start) == [each for each in whole if each[0] >= start]


def test_offsets_that_compaction_has_dropped_are_skipped():
    batch = with_fields(batch_of([Record(b"")] * 3), last_offset_delta=9)
    body = bytearray(batch[HEADER_BYTES:])
    body[7 + 3], body[14 + 3] = 4 << 1, 9 << 1
    batch = with_body(batch, bytes(body))
    assert [each[0] for each in our_entries(batch)] == [0, 4, 9]


def test_a_batch_that_the_broker_stamped_has_one_stamp():
    batch = with_fields(batch_of([Record(b"")] * 2), attributes=BROKER_STAMPED, max_ms=5)
    assert [each[1] for each in our_entries(batch)] == [5, 5]


def broken_bodies():
    one = bytes((12, 0, 0, 0, 1, 1, 0))  # a record without key and value
    return {
        "nothing": b"",
        "too short": one[:-1],
        "more than the records": one + b"\0",
        "two for one": one * 2,
        "a negative length": bytes((11,)) + one[1:],
        "a length that is too large": bytes((14,)) + one[1:] + b"\0",
        "a length that is too small": bytes((10,)) + one[1:],
        "a negative offset": bytes((12, 0, 0, 1, 1, 1, 0)),
        "an offset that is too large": bytes((12, 0, 0, 2, 1, 1, 0)),
        "a key of length -2": bytes((12, 0, 0, 0, 3, 1, 0)),
        "a value of length -2": bytes((12, 0, 0, 0, 1, 3, 0)),
        "a key beyond the end": bytes((12, 0, 0, 0, 100, 1, 0)),
        "a value beyond the end": bytes((12, 0, 0, 0, 1, 100, 0)),
        "headers of which there are -1": bytes((12, 0, 0, 0, 1, 1, 1)),
        "headers that are not there": bytes((12, 0, 0, 0, 1, 1, 2)),
        "a header's name of length -1": bytes((16, 0, 0, 0, 1, 1, 2, 1, 0)),
        "a header's value of length -2": bytes((18, 0, 0, 0, 1, 1, 2, 0, 3, 0)),
        "a header's name that is no UTF-8": bytes((18, 0, 0, 0, 1, 1, 2, 2, 255, 0)),
        "a number without end": b"\xff" * 20,
        "a number that is cut off": b"\xff",
    }


@pytest.mark.parametrize("name", broken_bodies())
def test_a_broken_inside_is_told_by_who_reads_it(name):
    body = broken_bodies()[name]
    batch = with_body(batch_of([Record(None)]), body)
    unreadable(batch)
    packed = batches.packed(body, Compression.GZIP)
    unreadable(with_fields(with_body(batch, packed), attributes=Compression.GZIP))


def test_offsets_that_do_not_rise_are_broken():
    batch = batch_of([Record(None)] * 2)
    body = bytearray(batch[HEADER_BYTES:])
    body[7 + 3] = 0
    unreadable(with_body(batch, bytes(body)))


def test_a_batch_that_is_not_the_whole_of_what_is_given_is_broken():
    batch = batch_of()
    unreadable(batch + b"\0")
    unreadable(batch[:-1])
    unreadable(batch[:20])


@pytest.mark.parametrize("kind", [each for each in Compression if each])
def test_what_is_no_such_compression_is_broken(kind):
    unreadable(with_fields(batch_of(), attributes=kind))


def test_a_bomb_is_refused():
    bomb = batch_of([Record(bytes(1 << 20))], compression=Compression.ZSTD)
    assert len(bomb) < 1_000
    unreadable(bomb, Code.MESSAGE_TOO_LARGE, unpacked_bytes_max=1 << 20)
    assert len(our_entries(bomb)) == 1
    assert UNPACKED_BYTES_MAX > 1 << 20


@settings(max_examples=150, deadline=None)
@given(given_=many, kind=st.sampled_from(Compression), data=st.data())
def test_damage_raises_nothing_but_what_is_promised(given_, kind, data):
    whole = bytearray(batch_of(given_, compression=kind))
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    tried = [bytes(whole), bytes(whole)[: data.draw(st.integers(0, len(whole)))]]
    for batch in tried:
        for read in (
            lambda b: split(b, batch_bytes_max=LIMIT),
            lambda b: list(entries_of(b)),
            marker_of,
        ):
            with suppress(BatchBroken):
                read(batch)


@settings(max_examples=300)
@given(body=st.binary(max_size=60), count=st.integers(-3, 10), attributes=st.integers(0, 127))
def test_any_bytes_with_a_right_crc_raise_nothing_but_what_is_promised(body, count, attributes):
    batch = with_fields(
        with_body(batch_of(), body),
        record_count=count,
        last_offset_delta=count - 1,
        attributes=attributes,
    )
    for read in (
        lambda b: split(b, batch_bytes_max=LIMIT),
        lambda b: list(entries_of(b)),
        marker_of,
    ):
        with suppress(BatchBroken):
            read(batch)


# --- markers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("commit", [True, False])
@pytest.mark.parametrize("reader", [_DefaultRecordBatchPy, in_c.DefaultRecordBatch])
def test_a_marker_is_what_another_client_takes_for_one(commit, reader):
    batch = marker(
        commit=commit, producer_id=1 << 40, producer_epoch=4, coordinator_epoch=6, now_ms=NOW_MS
    )
    assert marker_of(batch) == Marker(commit, 1 << 40, 4, 6)
    header = header_of(batch)
    assert (header.is_control, header.is_transactional, header.record_count) == (1, 1, 1)
    assert header.last_sequence == -1
    assert list(entries_of(batch)) == []
    refused(Code.INVALID_RECORD, batch)
    theirs = reader(batch)
    assert theirs.is_control_batch
    assert theirs.producer_id == 1 << 40
    [record] = theirs
    assert record.key == struct.pack(">hh", 0, commit)


@pytest.mark.parametrize(
    "record",
    [
        Record(None, struct.pack(">hh", 0, 1)),
        Record(struct.pack(">hi", 0, 0), None),
        Record(struct.pack(">hi", 0, 0), struct.pack(">hh", 0, 2)),
        Record(struct.pack(">hi", 0, 0), b"\0\0\0"),
    ],
)
def test_a_control_batch_that_ends_no_transaction_is_no_marker(record):
    for attributes in (CONTROL, CONTROL | TRANSACTIONAL):
        with pytest.raises(BatchBroken):
            marker_of(with_fields(batch_of([record]), attributes=attributes))


def test_a_clients_batch_is_no_marker():
    like_one = Record(struct.pack(">hi", 0, 0), struct.pack(">hh", 0, 1))
    for batch in (batch_of([like_one]), with_fields(batch_of([like_one] * 2), attributes=CONTROL)):
        with pytest.raises(BatchBroken):
            marker_of(batch)
