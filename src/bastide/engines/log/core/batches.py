"""Kafka's record batch, format 2: what producers send, what the log keeps, what consumers get.

Big-endian. Numbers in a record are zigzag varints, a null length is -1:

    0      8        12       16      17    21           23             27         35       43
    | base | length | leader | magic | crc | attributes | last offset  | first ms | max ms |
    | i64  | i32    | epoch  | 2     | u32 | i16        | delta i32    | i64      | i64    |
    | ...  |        | i32    |       |     '- the CRC32C covers all from here to the end --
    43         51            53        57            61
    | producer | producer    | base    | record      | records: compressed as a whole, if at all
    | id i64   | epoch i16   | seq i32 | count i32   |

    record:  | length | attributes 0 | ms delta | offset delta | key | value | count | headers |
    attributes of the batch:  0-2 compression, 3 stamped by the broker, 4 transactional, 5 control

The broker's own fields, base offset and leader epoch, stand outside the CRC: an append writes 16
bytes anew and passes the rest on as it came, whether compressed or not. So a batch is checked by
its header and its CRC alone, and what is inside is looked at by who reads it. That is where it
differs from Kafka, which reads each record of each batch: here a producer that sends nonsense with
a right CRC is told by its consumers. `entries_of` trusts nothing.

**A CRC of the end, without a copy.** The CRC library takes whole `bytes` objects, and the covered
part is a slice of one: 1 MB copied for 21 bytes in front. But a CRC's register can be run
backwards. With the start value that these 21 bytes turn into the usual one, the CRC of the whole
object is that of the part behind them:

    start = A^-21 (wanted ^ crc of the 21 bytes from zero)      A: a step of one zero byte, linear

A^-21 of 32 bits is four look-ups in tables, made when this is imported. A slice is cheaper up to
REWOUND_BYTES_MIN.

A marker is a batch of one record whose key says commit or abort: it ends a producer's transaction
in this partition.
"""

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache

import google_crc32c
from msgspec import Struct

from bastide.base.errors import Invalid
from bastide.engines.log.contract import Record
from bastide.engines.log.core.codes import Code
from bastide.engines.log.core.compression import (
    UNPACKED_BYTES_MAX,
    CodecMissing,
    Compression,
    PackedBroken,
    PackedTooLarge,
    packed,
    unpacked,
)

MAGIC = 2
BATCH_RECORDS_MAX = 1 << 20  # of one batch: what the log below takes
SEQUENCES = 1 << 31  # a producer's sequence goes on with 0 behind the last
NO_PRODUCER = -1
HEADER_BYTES = 61
STAMP_BYTES = 16  # what the broker writes anew
LENGTH_AT = 12  # what `length` counts begins here
MAGIC_AT = 16
COVERED_AT = 21
RECORD_BYTES_MIN = 7
VARINT_BYTES_MAX = 10
NULL = 1  # a length of -1, as zigzag
ABORT, COMMIT = 0, 1
REWOUND_BYTES_MIN = 32 << 10
HEADERS_REMEMBERED = 1_024  # of records: mostly all of a topic have the same
HEADERS_BYTES = 256  # larger ones are not remembered

COMPRESSION = 0x07
COMPRESSIONS_LAST = int(max(Compression))
BROKER_STAMPED = 0x08
TRANSACTIONAL = 0x10
CONTROL = 0x20

_HEADER = struct.Struct(">qiibIhiqqqhii")
_STAMP = struct.Struct(">qii")
_UNCOVERED = struct.Struct(">qiibI")
_COVERED = struct.Struct(">hiqqqhii")
_LENGTH = struct.Struct(">i")
_MARKER_KEY = struct.Struct(">hh")
_MARKER_VALUE = struct.Struct(">hi")
assert _HEADER.size == HEADER_BYTES


class BatchBroken(Invalid):
    """`code` is what the producer is told."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message, code=int(code))
        self.code = code


class Header(Struct, frozen=True, gc=False):
    """`size`: bytes of the whole batch. A producer id, epoch or sequence of -1: there is none."""

    base_offset: int
    size: int
    leader_epoch: int
    crc: int
    attributes: int
    last_offset_delta: int
    first_ms: int
    max_ms: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def compression(self) -> int:
        """Of 5 to 7 nobody knows what they are."""
        return self.attributes & COMPRESSION

    @property
    def is_broker_stamped(self) -> bool:
        """All its records have the stamp `max_ms`."""
        return bool(self.attributes & BROKER_STAMPED)

    @property
    def is_transactional(self) -> bool:
        return bool(self.attributes & TRANSACTIONAL)

    @property
    def is_control(self) -> bool:
        return bool(self.attributes & CONTROL)

    @property
    def offset_count(self) -> int:
        return self.last_offset_delta + 1

    @property
    def last_sequence(self) -> int:
        if self.base_sequence < 0:
            return self.base_sequence
        return (self.base_sequence + self.last_offset_delta) % SEQUENCES


class Marker(Struct, frozen=True, gc=False):
    """How a producer's transaction ended. `coordinator_epoch` tells an older coordinator's."""

    commit: bool
    producer_id: int
    producer_epoch: int
    coordinator_epoch: int


# --- what comes in ------------------------------------------------------------------------------


def header_of(data: bytes | memoryview, at: int = 0) -> Header:
    """The header of the batch at byte `at`, its format alone looked at.

    Raises:
        BatchBroken
    """
    if len(data) - at < HEADER_BYTES:
        _refuse_magic(data, at)
        raise BatchBroken(
            Code.CORRUPT_MESSAGE,
            f"a batch of {len(data) - at} bytes; its header alone has {HEADER_BYTES}",
        )
    base, length, leader_epoch, magic, crc, *rest = _HEADER.unpack_from(data, at)
    if magic != MAGIC:
        _refuse_magic(data, at)
    if length < HEADER_BYTES - LENGTH_AT:
        raise BatchBroken(
            Code.CORRUPT_MESSAGE,
            f"a length of {length}; at least {HEADER_BYTES - LENGTH_AT} are expected",
        )
    return Header(base, length + LENGTH_AT, leader_epoch, crc, *rest)


def _refuse_magic(data: bytes | memoryview, at: int) -> None:
    """Formats 0 and 1 have the byte at the same place, and may be shorter than our header."""
    if len(data) - at <= MAGIC_AT or data[at + MAGIC_AT] == MAGIC:
        return
    magic = data[at + MAGIC_AT]
    code = Code.INVALID_RECORD if magic < MAGIC else Code.CORRUPT_MESSAGE
    raise BatchBroken(code, f"format {magic} of a batch; {MAGIC} is taken")


def split(records: bytes | memoryview, *, batch_bytes_max: int) -> list[bytes]:
    """The batches of a Produce request's `records`, each whole, proven and fit to be appended.

    A single one that is `bytes` is handed back itself; of several, each is copied once.

    Raises:
        BatchBroken: one of them is not; none is to be appended.
    """
    data = records if isinstance(records, bytes) else bytes(records)
    header = header_of(data)
    if header.size == len(data):
        _check(data, header, batch_bytes_max)
        return [data]
    batches, at = [], 0
    while at < len(data):
        header = header_of(data, at)
        batch = data[at : at + header.size]
        _check(batch, header, batch_bytes_max)
        batches.append(batch)
        at += header.size
    return batches


def _check(batch: bytes, header: Header, batch_bytes_max: int) -> None:
    if len(batch) != header.size:
        raise BatchBroken(
            Code.CORRUPT_MESSAGE, f"a batch of {header.size} bytes; {len(batch)} have come"
        )
    if header.size > batch_bytes_max:
        raise BatchBroken(
            Code.MESSAGE_TOO_LARGE,
            f"a batch of {header.size} bytes; at most {batch_bytes_max} are taken",
        )
    if (found := crc_of(batch)) != header.crc:
        raise BatchBroken(
            Code.CORRUPT_MESSAGE, f"CRC {header.crc:#010x}, and the bytes have {found:#010x}"
        )
    _check_count(header)
    _check_kind(header)


def _check_count(header: Header) -> None:
    count = header.record_count
    if count < 1 or count != header.last_offset_delta + 1:
        raise BatchBroken(
            Code.INVALID_RECORD, f"{count} records at {header.offset_count} offsets; one at each"
        )
    if count > BATCH_RECORDS_MAX:
        raise BatchBroken(
            Code.MESSAGE_TOO_LARGE, f"{count} records; at most {BATCH_RECORDS_MAX} are taken"
        )
    records_bytes = header.size - HEADER_BYTES
    if not header.attributes & COMPRESSION and count * RECORD_BYTES_MIN > records_bytes:
        raise BatchBroken(Code.INVALID_RECORD, f"{count} records in {records_bytes} bytes")


def _check_kind(header: Header) -> None:
    if header.attributes & (CONTROL | BROKER_STAMPED):
        what = "a control batch" if header.is_control else "a batch with the broker's stamps"
        raise BatchBroken(Code.INVALID_RECORD, f"{what} from a client")
    if header.attributes & COMPRESSION > COMPRESSIONS_LAST:
        raise BatchBroken(
            Code.UNSUPPORTED_COMPRESSION_TYPE,
            f"compression {header.compression}; 0 to {COMPRESSIONS_LAST} are taken",
        )
    if header.producer_id < 0:
        if header.producer_id != NO_PRODUCER or header.is_transactional:
            raise BatchBroken(Code.INVALID_RECORD, f"producer id {header.producer_id}")
    elif header.producer_epoch < 0 or header.base_sequence < 0:
        epoch, sequence = header.producer_epoch, header.base_sequence
        raise BatchBroken(
            Code.INVALID_RECORD, f"an idempotent producer's epoch {epoch}, sequence {sequence}"
        )


# --- the CRC ------------------------------------------------------------------------------------


def crc_of(batch: bytes) -> int:
    """What the header of `batch` should say."""
    if len(batch) < REWOUND_BYTES_MIN:
        return int(google_crc32c.value(batch[COVERED_AT:]))
    register = google_crc32c.extend(ALL_ONES, batch[:COVERED_AT])
    return int(google_crc32c.extend(ALL_ONES ^ _rewound(register), batch))


ALL_ONES = 0xFFFFFFFF
POLYNOMIAL = 0x82F63B78  # Castagnoli's, its lowest power first


def _rewound(register: int) -> int:
    """What the register was before COVERED_AT zero bytes."""
    one, two, three, four = _REWINDING
    return (
        one[register & 0xFF]
        ^ two[register >> 8 & 0xFF]
        ^ three[register >> 16 & 0xFF]
        ^ four[register >> 24]
    )


def _rewinding() -> Sequence[Sequence[int]]:
    """A step forward is `r >> 1`, and `^ POLYNOMIAL` if a 1 fell out; the polynomial's top bit is
    set, so the top bit tells that it did.
    """
    bits = []
    for bit in range(32):
        register = 1 << bit
        for _ in range(8 * COVERED_AT):
            if register >> 31:
                register = (register ^ POLYNOMIAL) << 1 | 1
            else:
                register <<= 1
        bits.append(register)
    tables = []
    for lane in range(4):
        table = [0]
        for register in bits[8 * lane : 8 * lane + 8]:
            table += [register ^ each for each in table]
        tables.append(table)
    return tables


_REWINDING = _rewinding()


# --- what goes into the log ---------------------------------------------------------------------


def stamped(batch: bytes | memoryview, *, base_offset: int, leader_epoch: int) -> bytes:
    """`batch` as it lies in the log: one copy."""
    rest = memoryview(batch)[STAMP_BYTES:]
    return _STAMP.pack(base_offset, len(batch) - LENGTH_AT, leader_epoch) + rest


def made(
    records: Sequence[Record],
    *,
    now_ms: int,
    producer_id: int = NO_PRODUCER,
    producer_epoch: int = -1,
    base_sequence: int = -1,
    transactional: bool = False,
    compression: Compression = Compression.NONE,
) -> bytes:
    """A batch of at least one record, all with the stamp `now_ms`, to be `stamped`.

    Raises:
        CodecMissing
    """
    assert records
    body = _body_of(records)
    if compression:
        body = packed(body, compression)
    attributes = compression | (TRANSACTIONAL if transactional else 0)
    producer = (producer_id, producer_epoch, base_sequence)
    return _batch(attributes, len(records), now_ms, producer, body)


def marker(
    *, commit: bool, producer_id: int, producer_epoch: int, coordinator_epoch: int, now_ms: int
) -> bytes:
    """The batch that ends a transaction in a partition, to be `stamped`."""
    record = Record(
        _MARKER_VALUE.pack(0, coordinator_epoch), _MARKER_KEY.pack(0, COMMIT if commit else ABORT)
    )
    producer = (producer_id, producer_epoch, -1)
    return _batch(TRANSACTIONAL | CONTROL, 1, now_ms, producer, _body_of([record]))


def _batch(
    attributes: int, count: int, now_ms: int, producer: tuple[int, int, int], body: bytes
) -> bytes:
    covered = _COVERED.pack(attributes, count - 1, now_ms, now_ms, *producer, count) + body
    length = len(covered) + COVERED_AT - LENGTH_AT
    return _UNCOVERED.pack(0, length, -1, MAGIC, google_crc32c.value(covered)) + covered


def _varint(number: int) -> bytes:
    """Of a number from 0 on."""
    rest = number << 1
    found = bytearray()
    while rest > 0x7F:
        found.append(rest & 0x7F | 0x80)
        rest >>= 7
    found.append(rest)
    return bytes(found)


_VARINTS = [_varint(number) for number in range(2048)]
_NULL = bytes((NULL,))
_EMPTY = _varint(0)
_NO_DELTAS = b"\0\0"  # attributes, and milliseconds since the batch's first


def _body_of(records: Sequence[Record]) -> bytes:
    pieces: list[bytes] = []
    known, varints = len(_VARINTS), _VARINTS
    for delta, record in enumerate(records):
        key, value = record.key, record.value
        head = _NO_DELTAS + (varints[delta] if delta < known else _varint(delta))
        head += _NULL if key is None else _varint(len(key)) + key
        if value is None:
            value, value_size = b"", _NULL
        else:
            size = len(value)
            value_size = varints[size] if size < known else _varint(size)
        headers = record.headers
        if not headers:
            tail = _EMPTY
        else:
            tail = _packed_headers(headers) if type(headers) is tuple else _headers_of(headers)
        size = len(head) + len(value_size) + len(value) + len(tail)
        length = varints[size] if size < known else _varint(size)
        pieces += (length, head, value_size, value, tail)
    return b"".join(pieces)


def _headers_of(headers: Sequence[tuple[str, bytes]]) -> bytes:
    pieces = [_varint(len(headers))]
    for name, value in headers:
        encoded = name.encode()
        pieces += (_varint(len(encoded)), encoded, _varint(len(value)), value)
    return b"".join(pieces)


_packed_headers = lru_cache(HEADERS_REMEMBERED)(_headers_of)


# --- what is read -------------------------------------------------------------------------------


def entries_of(
    batch: bytes, *, from_offset: int = 0, unpacked_bytes_max: int = UNPACKED_BYTES_MAX
) -> Iterator[tuple[int, int, Record]]:
    """Offset, stamp in milliseconds, record: of each from `from_offset` on. None of a control
    batch. The CRC is not looked at.

    Raises:
        BatchBroken: its inside is not what its header says, or is larger than
            `unpacked_bytes_max`, or is compressed by what is not installed.
    """
    header = header_of(batch)
    if header.is_control:
        return iter(())
    body, at = _body(batch, header, unpacked_bytes_max)
    return _entries(body, at, header, from_offset)


def marker_of(batch: bytes) -> Marker:
    """What a control batch says.

    Raises:
        BatchBroken
    """
    header = header_of(batch)
    body, at = _body(batch, header, HEADER_BYTES)
    if header.is_control and header.record_count == 1:
        for _, _, record in _entries(body, at, header, header.base_offset):
            key, value = record.key or b"", record.value or b""
            if len(key) < _MARKER_KEY.size or len(value) < _MARKER_VALUE.size:
                break
            _, kind = _MARKER_KEY.unpack_from(key)
            _, coordinator_epoch = _MARKER_VALUE.unpack_from(value)
            if kind in (ABORT, COMMIT):
                commit = kind == COMMIT
                return Marker(commit, header.producer_id, header.producer_epoch, coordinator_epoch)
    raise _broken("no marker of a transaction's end")


def _body(batch: bytes, header: Header, unpacked_bytes_max: int) -> tuple[bytes, int]:
    """Where the records are, and from which byte on."""
    if len(batch) != header.size:
        raise _broken(f"{header.size} bytes, says the header; {len(batch)} are given")
    if not header.compression:
        return batch, HEADER_BYTES
    try:
        found = unpacked(batch[HEADER_BYTES:], header.compression, bytes_max=unpacked_bytes_max)
    except PackedTooLarge as error:
        raise BatchBroken(Code.MESSAGE_TOO_LARGE, str(error)) from error
    except PackedBroken as error:
        raise _broken(str(error)) from error
    except CodecMissing as error:
        raise BatchBroken(Code.UNSUPPORTED_COMPRESSION_TYPE, str(error)) from error
    return found, 0


def _broken(message: str) -> BatchBroken:
    return BatchBroken(Code.CORRUPT_MESSAGE, message)


def _entries(
    data: bytes, at: int, header: Header, from_offset: int
) -> Iterator[tuple[int, int, Record]]:
    """Numbers of one byte or two are read in place where they are common: a call costs more."""
    base, first_ms, last_delta = header.base_offset, header.first_ms, header.last_offset_delta
    from_delta, before = from_offset - base, -1
    stamp_ms = header.max_ms if header.is_broker_stamped else None
    try:
        for _ in range(header.record_count):
            size = data[at]
            at += 1
            if size > 0x7F:
                more = data[at]
                size, at = (
                    (size + (more - 1 << 7), at + 1) if more < 0x80 else _varint_at(data, at - 1)
                )
            end = at + (size >> 1)
            ms = data[at + 1]  # its attributes, before that, say nothing
            at += 2
            if ms > 0x7F:
                ms, at = _varint_at(data, at - 1)
            delta = data[at]
            at += 1
            if delta > 0x7F:
                more = data[at]
                delta, at = (
                    (delta + (more - 1 << 7), at + 1) if more < 0x80 else _varint_at(data, at - 1)
                )
            if (size | delta) & 1 or not before < (delta := delta >> 1) <= last_delta:
                raise _broken(f"a record of length {size} at offset {delta} behind {before}")
            before = delta
            if delta >= from_delta:
                its_ms = first_ms + (ms >> 1 ^ -(ms & 1)) if stamp_ms is None else stamp_ms
                yield base + delta, its_ms, _record(data, at, end)
            at = end
    except IndexError:
        raise _broken(f"{header.record_count} records in {len(data)} bytes") from None
    if at != len(data):
        raise _broken(f"records end at byte {at} of {len(data)}")


def _record(data: bytes, at: int, end: int) -> Record:
    """What runs beyond its end or the data's is found at its own end: reading goes only forward."""
    key = value = None
    key_size = data[at]
    at += 1
    if key_size > 0x7F:
        key_size, at = _varint_at(data, at - 1)
    if key_size != NULL:
        start, at = at, at + (key_size >> 1)
        key = data[start:at]
    size = data[at]
    at += 1
    if size > 0x7F:
        more = data[at]
        size, at = (size + (more - 1 << 7), at + 1) if more < 0x80 else _varint_at(data, at - 1)
    if size != NULL:
        start, at = at, at + (size >> 1)
        value = data[start:at]
    if data[at]:
        read = _headers_in if end - at <= HEADERS_BYTES else _headers_in.__wrapped__
        record, at = Record(value, key, read(data[at:end])), end
    else:
        record, at = Record(value, key), at + 1
    if at != end or (key_size & 1 and key_size != NULL) or (size & 1 and size != NULL):
        raise _broken(f"a record of key length {key_size}, value length {size} ends at byte {at}")
    return record


@lru_cache(HEADERS_REMEMBERED)
def _headers_in(data: bytes) -> Sequence[tuple[str, bytes]]:
    """Kafka knows a header without a value; here it is one of no bytes."""
    count, at = _varint_at(data, 0)
    if count & 1:
        raise _broken(f"{-(count + 1 >> 1)} headers")
    headers = []
    for _ in range(count >> 1):
        size, at = _varint_at(data, at)
        name, at = data[at : at + (size >> 1)], at + (size >> 1)
        bytes_, at = _varint_at(data, at)
        value, end = (
            (b"", at) if bytes_ == NULL else (data[at : at + (bytes_ >> 1)], at + (bytes_ >> 1))
        )
        if size & 1 or (bytes_ & 1 and bytes_ != NULL):
            raise _broken("a header of a negative length")
        try:
            headers.append((name.decode(), value))
        except UnicodeDecodeError:
            raise _broken("a header's name is no UTF-8") from None
        at = end
    if at != len(data):
        raise _broken(f"{count >> 1} headers end at byte {at} of {len(data)}")
    return tuple(headers)


def _varint_at(data: bytes, at: int) -> tuple[int, int]:
    """A number, still zigzag, and where it ends."""
    first = data[at]
    if first < 0x80:
        return first, at + 1
    second = data[at + 1]
    if second < 0x80:
        return first & 0x7F | second << 7, at + 2
    number, shift = first & 0x7F | (second & 0x7F) << 7, 14
    for end in range(at + 2, at + VARINT_BYTES_MAX):
        byte = data[end]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, end + 1
        shift += 7
    raise _broken(f"a number of more than {VARINT_BYTES_MAX} bytes")
