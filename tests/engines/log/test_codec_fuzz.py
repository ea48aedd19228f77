"""What a peer sends, whatever it is, is a message or one of the errors that are named."""

import os
import random
import struct
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.engines.log.wire.codec.calls import (
    ELEMENTS_MAX,
    decode_request,
    decode_response,
    encode_request,
)
from bastide.engines.log.wire.codec.errors import ApiUnknown, Malformed, VersionUnsupported
from bastide.engines.log.wire.codec.messages.groups import DESCRIBE_GROUPS
from bastide.engines.log.wire.codec.messages.records import FETCH, PRODUCE
from bastide.engines.log.wire.codec.primitives import uvarint
from tests.engines.log.codec_kit import MESSAGES, filled, name_of
from tests.engines.log.consumer_kit import decode_assignment, decode_subscription

ROUNDS = int(os.environ.get("BASTIDE_TEST_ROUNDS", "1"))
SEED = int(os.environ.get("BASTIDE_TEST_SEED", "5"))
NAMED = (Malformed, ApiUnknown, VersionUnsupported)


def tried(decode, frame):
    """What it was refused with, if it was."""
    try:
        decode(frame)
    except NAMED as error:
        return error
    return None


def changed(frame, chance):
    """A frame with one to three things wrong in it."""
    out = bytearray(frame)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(out) + 1)
        match chance.randrange(5):
            case 0 if at < len(out):
                out[at] ^= 1 << chance.randrange(8)
            case 1:
                del out[at:]
            case 2:
                out[at:at] = chance.randbytes(chance.randint(1, 6))
            case 3:
                del out[at : at + chance.randint(1, 6)]
            case _:
                extreme = (b"\xff\xff\xff\xff\x0f", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff\xff")
                word = chance.choice(extreme)
                out[at : at + len(word)] = word
    return bytes(out)


@pytest.mark.parametrize("message", MESSAGES, ids=name_of)
def test_a_frame_that_is_cut_off_anywhere_is_refused(message):
    chance = random.Random(f"{SEED} {name_of(message)}")
    frame = message.encode(filled(message.fields, message.version, chance))[4:]
    assert tried(message.decode, frame) is None
    step = max(1, len(frame) // 200)
    for size in range(0, len(frame), step):
        assert isinstance(tried(message.decode, frame[:size]), Malformed), size


@pytest.mark.parametrize("message", MESSAGES, ids=name_of)
def test_a_frame_with_bytes_changed_is_read_or_refused_by_name(message):
    for number in range(60 * ROUNDS):
        chance = random.Random(f"{SEED} {name_of(message)} {number}")
        frame = message.encode(filled(message.fields, message.version, chance))[4:]
        tried(message.decode, changed(frame, chance))


@settings(max_examples=300 * ROUNDS, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_of_chance_are_read_or_refused_by_name(data):
    tried(decode_request, data)


@settings(max_examples=300 * ROUNDS, deadline=None)
@given(st.sampled_from(MESSAGES), st.binary(max_size=120))
def test_a_good_header_before_bytes_of_chance_changes_nothing(message, data):
    head = struct.pack(">hhih", message.api.key, message.version, 1, -1)
    tried(decode_request, head + data)
    tried(lambda frame: decode_response(frame, message.api, message.version), data)
    tried(decode_subscription, data)
    tried(decode_assignment, data)


@pytest.mark.parametrize("count", [(1 << 31) - 1, 1 << 30, 70_000, 5])
def test_a_count_of_what_is_not_there_costs_nothing(count):
    classic = encode_request(FETCH, 11, 1, "", {})[4:]
    at = classic.index(struct.pack(">ii", 0, -1)) + 8
    compact = encode_request(FETCH, 12, 1, "", {})[4:]
    frames = (
        classic[:at] + struct.pack(">i", count) + classic[at + 4 :],
        compact[: at + 1] + uvarint(count + 1) + compact[at + 2 :],
    )
    for frame in frames:
        tried(decode_request, frame)  # compiles what it needs
        tracemalloc.start()
        try:
            assert isinstance(tried(decode_request, frame), Malformed)
            assert tracemalloc.get_traced_memory()[1] < 16 << 10
        finally:
            tracemalloc.stop()


def test_the_worst_that_many_small_elements_do_is_bounded():
    """Twice as many partitions as are read, in as few bytes as there can be."""
    head = encode_request(PRODUCE, 9, 1, "", {})[4:-2]
    topic = uvarint(1) + uvarint(1_001) + bytes(6) * 1_000 + b"\0"
    topics = ELEMENTS_MAX // 500
    frame = head + uvarint(topics + 1) + topic * topics + b"\0"
    tracemalloc.start()
    try:
        assert isinstance(tried(decode_request, frame), Malformed)
        assert tracemalloc.get_traced_memory()[1] < 600 * ELEMENTS_MAX
    finally:
        tracemalloc.stop()
    fits = head + uvarint(5) + topic * 4 + b"\0"
    assert len(decode_request(fits).body["topic_data"]) == 4


def test_tagged_fields_count_as_elements():
    head = encode_request(DESCRIBE_GROUPS, 5, 1, "", {})[4:-1]
    for count in (ELEMENTS_MAX, ELEMENTS_MAX + 1):
        error = tried(decode_request, head + uvarint(count) + b"\x63\0" * count)
        assert isinstance(error, Malformed) == (count > ELEMENTS_MAX)
    head = encode_request(DESCRIBE_GROUPS, 5, 1, "", {})[4:14]
    rest = encode_request(DESCRIBE_GROUPS, 5, 1, "", {})[15:]
    for count in (ELEMENTS_MAX, ELEMENTS_MAX + 1):
        error = tried(decode_request, head + uvarint(count) + b"\x63\0" * count + rest)
        assert isinstance(error, Malformed) == (count > ELEMENTS_MAX)
