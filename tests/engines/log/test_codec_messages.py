"""Every message in every version: there and back, and what the table says of it."""

import os
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.engines.log.wire.codec.calls import (
    ELEMENTS_MAX,
    PIECE_BYTES_MIN,
    correlation_id_of,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
    encode_response_pieces,
    versions_told,
)
from bastide.engines.log.wire.codec.errors import ApiUnknown, Malformed, VersionUnsupported
from bastide.engines.log.wire.codec.messages.cluster import API_VERSIONS
from bastide.engines.log.wire.codec.messages.groups import DESCRIBE_GROUPS, HEARTBEAT, JOIN_GROUP
from bastide.engines.log.wire.codec.messages.records import DELETE_RECORDS, FETCH, PRODUCE
from bastide.engines.log.wire.codec.messages.table import APIS
from bastide.engines.log.wire.codec.primitives import uvarint
from tests.engines.log.codec_kit import MESSAGES, bodies, name_of

ROUNDS = int(os.environ.get("BASTIDE_TEST_ROUNDS", "1"))

# What librdkafka and the Java client send first, and an answer of one row.
HELLO = bytes.fromhex("0012 0003 00000001 0007") + b"rdkafka\0" + b"\x0blibrdkafka\x062.0.2\0"
HELLO_ANSWER = bytes.fromhex("00000013 00000001 0000 02 0003 0000 0009 00 00000000 00 ")


@pytest.mark.parametrize("message", MESSAGES, ids=name_of)
@settings(max_examples=5 * ROUNDS, deadline=None)
@given(data=st.data())
def test_what_is_encoded_is_decoded_as_it_was(message, data):
    body = data.draw(bodies(message.fields, message.version))
    frame = message.encode(body)
    assert int.from_bytes(frame[:4]) == len(frame) - 4
    assert message.decode(frame[4:]) == body


@pytest.mark.parametrize("message", MESSAGES, ids=name_of)
def test_an_absent_field_is_encoded_as_its_default(message):
    body = message.decode(message.encode({})[4:])
    assert body == {field.name: body[field.name] for field in message.fields}
    assert message.encode(body) == message.encode({})


def test_a_request_is_read_byte_for_byte():
    call = decode_request(HELLO)
    assert (call.api, call.version, call.correlation_id) == (API_VERSIONS, 3, 1)
    assert call.client_id == "rdkafka"
    assert call.body == {"client_software_name": "librdkafka", "client_software_version": "2.0.2"}
    assert encode_request(API_VERSIONS, 3, 1, "rdkafka", call.body)[4:] == HELLO


def test_the_answer_to_api_versions_has_no_tags_in_its_header():
    rows = [{"api_key": 3, "min_version": 0, "max_version": 9}]
    answer = encode_response(API_VERSIONS, 3, 1, {"api_keys": rows})
    assert answer == HELLO_ANSWER
    assert decode_response(answer[4:], API_VERSIONS, 3).body["api_keys"] == rows


def test_a_client_need_not_have_a_name():
    for version in (3, 4):
        frame = encode_request(HEARTBEAT, version, 5, None, {"group_id": "g"})
        call = decode_request(frame[4:])
        assert (call.client_id, call.correlation_id, call.body["group_id"]) == (None, 5, "g")


def test_a_response_says_which_request_it_answers():
    for version in (3, 4):
        frame = encode_response(HEARTBEAT, version, -77, {})[4:]
        reply = decode_response(frame, HEARTBEAT, version)
        assert correlation_id_of(frame) == reply.correlation_id == -77
    with pytest.raises(Malformed):
        correlation_id_of(frame[:3])


def test_one_body_does_for_every_version():
    body = {"session_timeout_ms": 6_000, "reason": "it was asked to", "group_id": "g"}
    for version in range(JOIN_GROUP.version_min, JOIN_GROUP.version_max + 1):
        read = decode_request(encode_request(JOIN_GROUP, version, 1, "", body)[4:]).body
        assert read["reason"] == ("it was asked to" if version >= 8 else None)
        assert read["session_timeout_ms"] == 6_000


def test_a_name_that_no_version_knows_is_a_mistake_of_ours():
    with pytest.raises(AssertionError, match="sesion"):
        encode_request(JOIN_GROUP, 9, 1, "", {"sesion_timeout_ms": 6_000})
    with pytest.raises(AssertionError, match="meta"):
        encode_request(JOIN_GROUP, 9, 1, "", {"protocols": [{"name": "range", "meta": b""}]})


def test_tags_that_are_not_known_are_skipped():
    body = {"topics": [{"name": "a", "partitions": [{"partition_index": 6, "offset": 1 << 40}]}]}
    plain = encode_request(DELETE_RECORDS, 2, 1, "c", body | {"timeout_ms": 9})[4:]
    ends = (11, len(plain) - 7, len(plain) - 6, len(plain) - 1)  # header, partition, topic, body
    assert all(plain[at] == 0 for at in ends)
    tags = uvarint(2) + uvarint(9) + uvarint(3) + b"xyz" + uvarint(70_000) + uvarint(0)
    edges = pairwise((-1, *ends, len(plain)))
    tagged = tags.join(plain[a + 1 : b] for a, b in edges)
    assert len(tagged) == len(plain) + 4 * (len(tags) - 1)
    assert decode_request(tagged) == decode_request(plain)


def test_metadata_is_served_in_no_version_in_which_librdkafka_asks_askew():
    """What it sends in version 9 to ask for all topics: three bytes too many."""
    asked = bytes.fromhex("0003 0009 00000003 ffff 00 00000000 01 00 00 00")
    with pytest.raises(VersionUnsupported):
        decode_request(asked)


def test_a_tagged_field_is_written_only_if_it_says_something():
    bare = encode_request(FETCH, 12, 1, "", {})
    assert encode_request(FETCH, 12, 1, "", {"cluster_id": None}) == bare
    told = encode_request(FETCH, 12, 1, "", {"cluster_id": "town"})
    assert told.endswith(b"\x01\x00\x05\x05town")
    assert decode_request(told[4:]).body["cluster_id"] == "town"


def test_a_tagged_field_that_is_not_of_its_size_is_refused():
    told = encode_request(FETCH, 12, 1, "", {"cluster_id": "town"})[4:]
    for wrong in (b"\x01\x00\x04\x05town", b"\x01\x00\x06\x05town", b"\x01\x00\x06\x05town!"):
        with pytest.raises(Malformed, match="fetch v12"):
            decode_request(told[:-8] + wrong)


def test_an_api_that_is_not_there_is_named():
    with pytest.raises(ApiUnknown) as caught:
        decode_request(bytes.fromhex("03e7 0002 0000002a ffff"))
    assert (caught.value.api_key, caught.value.version, caught.value.correlation_id) == (999, 2, 42)


@pytest.mark.parametrize("api", APIS.values(), ids=lambda api: api.name)
def test_a_version_beside_those_that_are_served_is_named(api):
    for version in (api.version_min - 1, api.version_max + 1, -1, 32_767):
        frame = bytearray(encode_request(api, api.version_max, 9, "c", {})[4:])
        frame[2:4] = version.to_bytes(2, signed=True)
        with pytest.raises(VersionUnsupported) as caught:
            decode_request(bytes(frame))
        error = caught.value
        assert (error.api, error.version, error.correlation_id) == (api, version, 9)


def test_api_versions_in_a_version_of_the_future_can_be_answered_in_version_0():
    with pytest.raises(VersionUnsupported) as caught:
        decode_request(bytes.fromhex("0012 0063 00000005 ffff 00 aabbcc"))
    rows = versions_told()
    answer = encode_response(
        API_VERSIONS, 0, caught.value.correlation_id, {"error_code": 35, "api_keys": rows}
    )
    reply = decode_response(answer[4:], API_VERSIONS, 0)
    assert (reply.correlation_id, reply.body["error_code"]) == (5, 35)
    assert reply.body["api_keys"] == rows


def test_what_is_served_is_told_by_key_but_for_the_lowest_version_of_produce():
    rows = {row["api_key"]: row for row in versions_told()}
    assert list(rows) == sorted(APIS)
    for api in APIS.values():
        lowest = 0 if api is PRODUCE else api.version_min
        told = {"api_key": api.key, "min_version": lowest, "max_version": api.version_max}
        assert rows[api.key] == told


def test_records_are_views_into_the_frame():
    body = {"topic_data": [{"name": "t", "partition_data": [{"index": 0, "records": b"abc"}]}]}
    for version in (8, 9):
        frame = encode_request(PRODUCE, version, 1, "", body)[4:]
        records = decode_request(frame).body["topic_data"][0]["partition_data"][0]["records"]
        assert isinstance(records, memoryview)
        assert records.obj is frame
        assert records == b"abc"


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES_MIN - 1, PIECE_BYTES_MIN, 1 << 20])
def test_large_records_are_sent_as_they_are(size):
    parts = [{"partition_index": n, "records": bytes(size)} for n in range(3)]
    body = {"responses": [{"topic": "t", "partitions": parts}]}
    for version in (11, 12):
        pieces = encode_response_pieces(FETCH, version, 1, body)
        assert b"".join(pieces) == encode_response(FETCH, version, 1, body)
        same = [p for p in pieces if any(p is part["records"] for part in parts)]
        assert len(same) == (3 if size >= PIECE_BYTES_MIN else 0)
        behind = version == 12  # the tags
        assert len(pieces) == (6 + behind if size >= PIECE_BYTES_MIN else 1)


def test_records_may_be_in_pieces():
    whole = bytes(range(256)) * 64
    pieces = [memoryview(whole)[:10_000], whole[10_000:10_001], bytearray(whole[10_001:])]
    for version in (4, 12):
        one, many = (
            {"responses": [{"topic": "t", "partitions": [{"records": records}]}]}
            for records in (whole, pieces)
        )
        assert encode_response(FETCH, version, 1, many) == encode_response(FETCH, version, 1, one)


def test_a_request_has_at_most_so_many_elements():
    names = [""] * ELEMENTS_MAX
    for version in (4, 5):
        frame = encode_request(DESCRIBE_GROUPS, version, 1, "", {"groups": names})[4:]
        assert len(decode_request(frame).body["groups"]) == ELEMENTS_MAX
        frame = encode_request(DESCRIBE_GROUPS, version, 1, "", {"groups": [*names, ""]})[4:]
        with pytest.raises(Malformed, match="more elements"):
            decode_request(frame)


def test_elements_count_together_in_whichever_array_they_are():
    half = [""] * (ELEMENTS_MAX // 2)
    topics = [{"partitions": [{}] * (len(half) - 1)}, {"partitions": []}]
    body = {"topics": topics, "forgotten_topics_data": [{"partitions": [0] * (len(half) - 1)}]}
    frame = encode_request(FETCH, 12, 1, "", body)[4:]
    with pytest.raises(Malformed, match="more elements"):
        decode_request(frame)
    body["topics"].pop()
    assert decode_request(encode_request(FETCH, 12, 1, "", body)[4:]).body


def test_a_string_is_at_most_as_long_as_an_int16_says():
    longest = "x" * 32_767
    for version in (4, 5):
        frame = encode_request(DESCRIBE_GROUPS, version, 1, "", {"groups": [longest]})[4:]
        assert decode_request(frame).body["groups"] == [longest]
        with pytest.raises(AssertionError):
            encode_request(DESCRIBE_GROUPS, version, 1, "", {"groups": [longest + "x"]})
    head = encode_request(DESCRIBE_GROUPS, 5, 1, "", {})[4:-3]
    frame = head + uvarint(2) + uvarint(32_769) + b"x" * 32_768 + bytes(2)
    with pytest.raises(Malformed, match="longer"):
        decode_request(frame)


def test_what_is_behind_a_request_is_not_looked_at_but_behind_a_response_is():
    """As Kafka has it: there are clients who send more than they say."""
    for version in (3, 4):
        asked = encode_request(HEARTBEAT, version, 1, "c", {"group_id": "g"})[4:]
        assert decode_request(asked + b"\0?") == decode_request(asked)
        answered = encode_response(HEARTBEAT, version, 1, {})[4:]
        with pytest.raises(Malformed, match="1 bytes are left over"):
            decode_response(answered + b"\0", HEARTBEAT, version)


def test_null_is_refused_where_it_may_not_be():
    head = encode_request(DESCRIBE_GROUPS, 5, 1, "", {})[4:-3]
    for groups in (b"\x00", b"\x02\x00"):
        with pytest.raises(Malformed, match="null"):
            decode_request(head + groups + bytes(2))


def test_a_call_is_a_value():
    call = decode_request(HELLO)
    with pytest.raises(AttributeError):
        call.version = 4
    assert call == msgspec.structs.replace(call, version=3)
