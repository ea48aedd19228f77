"""What is packed comes out again, here and at clients that are not ours; and never too much."""

import gzip
import struct
import sys
import tracemalloc
from contextlib import suppress

import pytest
from aiokafka import codec as theirs
from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.engines.log.core import compression
from bastide.engines.log.core.compression import (
    LZ4_HEADER,
    UNPACKED_BYTES_MAX,
    XERIAL,
    CodecMissing,
    Compression,
    PackedBroken,
    PackedTooLarge,
    packed,
    unpacked,
)

cramjam = pytest.importorskip("cramjam", reason="the extra `compression` is not installed")

REAL = [each for each in Compression if each]
THEIRS = {
    Compression.GZIP: (theirs.gzip_encode, theirs.gzip_decode),
    Compression.SNAPPY: (theirs.snappy_encode, theirs.snappy_decode),
    Compression.LZ4: (theirs.lz4_encode, theirs.lz4_decode),
    Compression.ZSTD: (theirs.zstd_encode, theirs.zstd_decode),
}
contents = st.one_of(
    st.binary(max_size=300),
    st.builds(lambda seed, n: (seed * n)[:300_000], st.binary(min_size=1), st.integers(0, 40_000)),
)
DATA = b"".join(b"%d and %d\n" % (n, n * n) for n in range(12_000))


@pytest.mark.parametrize("kind", Compression)
@settings(max_examples=30, deadline=None)
@given(data=contents)
def test_what_is_packed_comes_out_again(kind, data):
    assert unpacked(packed(data, kind), kind) == data


@pytest.mark.parametrize("kind", REAL)
@pytest.mark.parametrize("data", [DATA, b"x", bytes(200_000), DATA[:65536], DATA[:32768]])
def test_another_client_reads_what_is_packed_here_and_the_other_way_round(kind, data):
    encode, decode = THEIRS[kind]
    assert bytes(decode(packed(data, kind))) == data
    assert unpacked(bytes(encode(data)), kind) == data


def test_bare_snappy_is_read_too():
    assert unpacked(bytes(cramjam.snappy.compress_raw(DATA)), Compression.SNAPPY) == DATA


def test_snappy_goes_out_in_the_blocks_that_java_reads():
    assert packed(DATA, Compression.SNAPPY).startswith(b"\x82SNAPPY\0\0\0\0\1\0\0\0\1")


def test_lz4_goes_out_in_independent_blocks_which_is_all_that_java_reads():
    found = packed(DATA, Compression.LZ4)
    assert found.startswith(LZ4_HEADER)
    assert LZ4_HEADER[4] & 0x20
    noise = bytes(cramjam.zstd.compress(DATA))
    assert noise[:50] in packed(noise, Compression.LZ4)  # no block grows


@pytest.mark.limit("log.UNPACKED_BYTES_MAX")
@pytest.mark.parametrize("kind", Compression)
def test_as_much_as_is_allowed_comes_out_and_one_byte_more_is_refused(kind):
    full = bytes(UNPACKED_BYTES_MAX)
    assert len(unpacked(packed(full, kind), kind)) == UNPACKED_BYTES_MAX
    with pytest.raises(PackedTooLarge):
        unpacked(packed(full + b"\0", kind), kind)


@pytest.mark.parametrize("kind", Compression)
@pytest.mark.parametrize("size", [1, 70_000, len(DATA)])
def test_a_limit_of_the_callers_is_kept_to_the_byte(kind, size):
    data = packed(DATA[:size], kind)
    assert unpacked(data, kind, bytes_max=size) == DATA[:size]
    with pytest.raises(PackedTooLarge):
        unpacked(data, kind, bytes_max=size - 1)


@pytest.mark.parametrize("kind", REAL)
def test_a_bomb_costs_no_more_than_the_limit(kind):
    bomb = packed(bytes(100 << 20), kind)
    tracemalloc.start()
    try:
        with pytest.raises(PackedTooLarge):
            unpacked(bomb, kind, bytes_max=1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_a_length_that_lies_is_refused_unread():
    lie = b"\xff\xff\xff\xff\x0f" + b"\0" * 10
    with pytest.raises(PackedTooLarge):
        unpacked(lie, Compression.SNAPPY)
    with pytest.raises(PackedTooLarge):
        unpacked(XERIAL + struct.pack(">i", len(lie)) + lie, Compression.SNAPPY)


@pytest.mark.parametrize("kind", REAL)
def test_what_is_cut_off_is_refused(kind):
    data = packed(DATA[:70_000], kind)
    for size in {*range(0, len(data), 997), len(data) - 1} - {len(XERIAL)}:
        with pytest.raises(PackedBroken):
            unpacked(data[:size], kind)


@pytest.mark.parametrize("kind", [Compression.GZIP, Compression.LZ4, Compression.ZSTD])
def test_what_follows_the_end_is_refused(kind):
    data = packed(DATA, kind)
    for more in (b"\0", data):
        with pytest.raises(PackedBroken):
            unpacked(data + more, kind)


@pytest.mark.parametrize("kind", REAL)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_bytes_are_refused_or_read_but_nothing_else(kind, data):
    whole = bytearray(packed(DATA[:2_000], kind))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = unpacked(bytes(whole), kind, bytes_max=1 << 20)
    except (PackedBroken, PackedTooLarge):
        return
    assert len(found) <= 1 << 20


@pytest.mark.parametrize("kind", REAL)
@given(data=st.binary(max_size=60))
def test_any_bytes_are_refused_or_read_but_nothing_else(kind, data):
    heads = {Compression.GZIP: gzip.compress(b"")[:10], Compression.LZ4: LZ4_HEADER}
    for given_ in (data, heads.get(kind, XERIAL) + data):
        with suppress(PackedBroken, PackedTooLarge):
            unpacked(given_, kind, bytes_max=1 << 20)


@pytest.mark.parametrize("kind", [-1, 5, 7])
def test_a_compression_that_nobody_knows_is_refused(kind):
    for call in (packed, unpacked):
        with pytest.raises(CodecMissing):
            call(b"", kind)


@pytest.mark.parametrize("kind", [Compression.SNAPPY, Compression.LZ4])
def test_without_its_library_the_rest_still_works(kind, monkeypatch):
    data = packed(DATA, kind)
    monkeypatch.setitem(sys.modules, "cramjam", None)
    for call in (packed, unpacked):
        with pytest.raises(CodecMissing, match=r"bastide\[compression\]"):
            call(data, kind)
    assert compression.packed(b"", Compression.GZIP)
