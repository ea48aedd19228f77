"""Numbers of variable size, and the lines that a message is described by."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.engines.log.wire.codec.errors import Malformed
from bastide.engines.log.wire.codec.primitives import (
    read_uvarint,
    read_varint,
    read_varlong,
    skip_tags,
    uvarint,
    varint,
    varlong,
)
from bastide.engines.log.wire.codec.reading import compile_decoder, run
from bastide.engines.log.wire.codec.schema import Versions, parse
from bastide.engines.log.wire.codec.writing import compile_encoder

INT32 = st.integers(-(1 << 31), (1 << 31) - 1)
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)


@given(st.integers(0, (1 << 32) - 1))
def test_a_uvarint_comes_back(number):
    assert read_uvarint(b"?" + uvarint(number) + b"?", 1) == (number, len(uvarint(number)) + 1)


@given(INT32)
def test_a_varint_comes_back(number):
    assert read_varint(varint(number) + b"?", 0) == (number, len(varint(number)))


@given(INT64)
def test_a_varlong_comes_back(number):
    assert read_varlong(varlong(number) + b"?", 0) == (number, len(varlong(number)))


@pytest.mark.parametrize(
    ("number", "written"),
    [(0, "00"), (-1, "01"), (1, "02"), (-2, "03"), (63, "7e"), (-64, "7f"), (64, "8001")],
)
def test_numbers_near_zero_are_short(number, written):
    assert varint(number) == varlong(number) == bytes.fromhex(written)


def test_the_largest_numbers_take_five_and_ten_bytes():
    assert varint((1 << 31) - 1) == bytes.fromhex("feffffff0f")
    assert varint(-(1 << 31)) == bytes.fromhex("ffffffff0f")
    assert varlong((1 << 63) - 1) == bytes.fromhex("feffffffffffffffff01")
    assert varlong(-(1 << 63)) == bytes.fromhex("ffffffffffffffffff01")


@pytest.mark.parametrize(
    "given_", ["", "80", "ffffffff", "ffffffffff", "ffffffff1f", "808080808000"]
)
def test_a_number_that_is_cut_off_or_too_large_is_refused(given_):
    for read in (read_uvarint, read_varint):
        with pytest.raises(Malformed):
            read(bytes.fromhex(given_), 0)


@pytest.mark.parametrize("given_", ["", "ffffffffff", "ffffffffffffffffff02", "ff" * 11])
def test_a_long_number_that_is_cut_off_or_too_large_is_refused(given_):
    with pytest.raises(Malformed):
        read_varlong(bytes.fromhex(given_), 0)


def test_tags_are_skipped_to_their_end_and_not_beyond():
    given_ = b"?" + uvarint(5) + uvarint(2) + b"ab" + uvarint(300) + uvarint(0) + b"?"
    assert skip_tags(given_, 1, 2) == len(given_) - 1
    with pytest.raises(Malformed, match="beyond the end"):
        skip_tags(uvarint(0) + uvarint(3) + b"ab", 0, 1)


EVERY_TYPE = """
    flag        bool            = true
    tiny        int8            = -1
    small       int16
    port        uint16          = 9092
    number      int32   2-3
    mask        uint32
    long        int64
    ratio       float64         = 0.5
    id          uuid
    name        string          null = null
    key         bytes
    batch       records         null
    numbers     []int16         null 1+
    ratios      []float64
    ids         []uuid
    names       []string
    keys        []bytes
    place       {}
      line      int32
      column    int32           = 1
    note        string  1+      tag 1
    where       {}              tag 0 2+
      line      int32
"""


@pytest.mark.parametrize("flexible", [False, True])
def test_every_type_there_is_comes_back(flexible):
    fields = parse("\n".join(EVERY_TYPE.splitlines()[:-3]))
    numbers = {"tiny": -128, "small": -5, "port": 65_535, "number": 7, "mask": 1 << 31}
    others = {"long": -(1 << 63), "ratio": -0.25, "flag": False, "id": bytes(range(16))}
    texts = {"name": "ü", "key": b"k", "batch": b"b" * 200, "names": ["a", ""], "keys": [b"", b"x"]}
    arrays = {"numbers": [1, -2], "ratios": [0.5], "ids": [bytes(16), b"x" * 16]}
    body = numbers | others | texts | arrays | {"place": {"line": 3, "column": 4}}
    decode = compile_decoder(fields, 2, flexible=flexible)
    out = []
    compile_encoder(fields, 2, flexible=flexible)(body, out)
    assert run(decode, b"".join(out), 0, 100) == (body, len(b"".join(out)))


def test_a_line_describes_a_field():
    fields = {field.name: field for field in parse(EVERY_TYPE)}
    assert fields["number"].versions == Versions(2, 3)
    assert 1 in fields["numbers"].nullable
    assert 0 not in fields["numbers"].nullable
    assert (fields["flag"].default, fields["tiny"].default, fields["small"].default) == (
        True,
        -1,
        0,
    )
    assert (fields["batch"].default, fields["key"].default, fields["names"].default) == (
        None,
        b"",
        [],
    )
    assert [field.name for field in fields["place"].fields] == ["line", "column"]
    assert fields["where"].tag == 0
    assert 1 not in fields["where"].tagged
    assert 2 in fields["where"].tagged


@pytest.mark.parametrize(
    "line",
    [
        "name  strin",
        "name  string  1+  nul",
        "name  string  = a b",
        "name  []",
        "name  int32\n  inner int32",
        "  name int32\n other int32",
        "name  {}  null\n  inner int32",
    ],
)
def test_a_line_that_is_none_fails_when_it_is_read(line):
    with pytest.raises(AssertionError):
        parse(line)
