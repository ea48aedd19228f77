"""What aiokafka's own classes read and write is what ours do: two codecs of one protocol."""

from collections.abc import Iterator
from importlib import import_module

import pytest
from aiokafka.coordinator.protocol import (
    ConsumerProtocolMemberAssignment,
    ConsumerProtocolMemberMetadata,
)
from aiokafka.protocol.api import RequestStruct, Response
from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.engines.log.wire.codec.calls import encode_request
from bastide.engines.log.wire.codec.messages.table import APIS
from tests.engines.log.codec_kit import Message, bodies, name_of
from tests.engines.log.consumer_kit import (
    decode_assignment,
    decode_subscription,
    encode_assignment,
    encode_subscription,
)

SUBJECTS = (
    *("admin", "commit", "coordination", "fetch", "group", "metadata", "offset", "produce"),
    "transaction",
)
# Their current_leader_epoch has 64 bits, Kafka's 32. They never send these versions.
WRONG = {"list_offsets-request-4", "list_offsets-request-5"}
LEAST_PAIRS = 140  # so many of their classes are of versions that we serve; fewer would prove less


def descendants(base: type) -> Iterator[type]:
    for each in base.__subclasses__():
        yield each
        yield from descendants(each)


def pairs() -> list[tuple[Message, type]]:
    """Each message of ours with the class that they have for it."""
    for subject in SUBJECTS:
        import_module(f"aiokafka.protocol.{subject}")
    found = []
    for base, direction in ((RequestStruct, "request"), (Response, "response")):
        for theirs in descendants(base):
            api = APIS.get(theirs.API_KEY)
            if api is not None and api.serves(theirs.API_VERSION):
                found.append((Message(api, theirs.API_VERSION, direction), theirs))
    return [pair for pair in found if name_of(pair[0]) not in WRONG]


PAIRS = pairs()


def leaves(fields, version, body):
    """The values in their order, without tagged fields. Who nests what in what does not matter."""
    for field in fields:
        if version in field.versions and version not in field.tagged:
            value = body[field.name]
            if field.type == "struct" and value is not None:
                for each in value:
                    yield from leaves(field.fields, version, each)
            else:
                yield from leaves_of_theirs(value)


def leaves_of_theirs(value):
    """They keep structs as tuples, and tagged fields as dicts."""
    if isinstance(value, list | tuple):
        for each in value:
            yield from leaves_of_theirs(each)
    elif not isinstance(value, dict):
        yield value


def test_they_have_many_of_our_messages():
    assert len(PAIRS) >= LEAST_PAIRS


@pytest.mark.parametrize(("message", "theirs"), PAIRS, ids=[name_of(m) for m, _ in PAIRS])
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_they_read_and_write_what_we_write(message, theirs, data):
    """But for tagged fields: theirs are written without their sizes."""
    body = data.draw(bodies(message.fields, message.version, tagged=False))
    written = written_alone(message, body)
    read = theirs.decode(written)
    values = [getattr(read, name) for name in theirs.SCHEMA.names]
    assert list(leaves_of_theirs(values)) == list(leaves(message.fields, message.version, body))
    assert read.encode() == written


def written_alone(message, body):
    """Without length and header: what follows them is the same in both, so it can be cut off."""
    flexible = message.api.is_flexible(message.version)
    if message.direction == "request":
        return message.encode(body)[4 + 8 + 2 + len("kit") + flexible :]
    return message.encode(body)[4 + 4 + (flexible and message.api.name != "api_versions") :]


@pytest.mark.parametrize(
    ("message", "theirs"),
    [pair for pair in PAIRS if pair[0].direction == "request"],
    ids=[name_of(m) for m, _ in PAIRS if m.direction == "request"],
)
def test_their_requests_begin_as_ours(message, theirs):
    ours = encode_request(message.api, message.version, 31, "someone", {})[4:]
    flexible = message.api.is_flexible(message.version)
    body = theirs.decode(ours[8 + 2 + len("someone") + flexible :])
    assert body.build_request_header(31, "someone").encode() + body.encode() == ours


def test_they_read_what_consumers_tell_each_other():
    owned = [{"topic": "a", "partitions": [1, 2]}, {"topic": "ü", "partitions": []}]
    subscription = {"topics": ["a", "ü"], "user_data": b"\0x"}
    assignment = {"assigned_partitions": owned, "user_data": b""}
    written = encode_subscription(subscription, version=0)
    theirs = ConsumerProtocolMemberMetadata.decode(written)
    assert (theirs.version, theirs.subscription, theirs.user_data) == (0, ["a", "ü"], b"\0x")
    version, read = decode_subscription(theirs.encode())
    assert (version, read["topics"], read["user_data"]) == (0, ["a", "ü"], b"\0x")
    written = encode_assignment(assignment, version=0)
    theirs = ConsumerProtocolMemberAssignment.decode(written)
    assert [tuple(each) for each in theirs.assignment] == [("a", [1, 2]), ("ü", [])]
    assert decode_assignment(theirs.encode()) == (0, assignment)
