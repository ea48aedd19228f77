"""What consumers tell each other, in the versions that there are and one that is to come."""

import pytest

from bastide.engines.log.wire.codec.errors import Malformed
from tests.engines.log.consumer_kit import (
    VERSION_MAX,
    decode_assignment,
    decode_subscription,
    encode_assignment,
    encode_subscription,
)

OWNED = [{"topic": "town.news", "partitions": [0, 3]}]
SUBSCRIBED = {
    "topics": ["town.news", "é"],
    "user_data": b"\0\1",
    "owned_partitions": OWNED,
    "generation_id": 9,
    "rack_id": "west",
}
SINCE = {"owned_partitions": (1, []), "generation_id": (2, -1), "rack_id": (3, None)}


@pytest.mark.parametrize("version", range(VERSION_MAX + 1))
def test_a_subscription_comes_back(version):
    lacking = {name: default for name, (first, default) in SINCE.items() if version < first}
    written = encode_subscription(SUBSCRIBED, version=version)
    assert decode_subscription(written) == (version, SUBSCRIBED | lacking)


@pytest.mark.parametrize("version", range(VERSION_MAX + 1))
def test_an_assignment_comes_back(version):
    assigned = {"assigned_partitions": OWNED, "user_data": None}
    assert decode_assignment(encode_assignment(assigned, version=version)) == (version, assigned)


def test_a_subscription_is_written_byte_for_byte():
    written = encode_subscription({"topics": ["ab"]}, version=1)
    assert written == bytes.fromhex("0001 00000001 0002 6162 ffffffff 00000000")


def test_a_version_to_come_is_read_as_the_newest_that_there_is():
    newest = encode_subscription(SUBSCRIBED)
    later = (7).to_bytes(2) + newest[2:] + b"and more"
    assert decode_subscription(later) == (7, SUBSCRIBED)
    later = (7).to_bytes(2) + encode_assignment({"assigned_partitions": OWNED})[2:] + b"!"
    assert decode_assignment(later)[1]["assigned_partitions"] == OWNED


@pytest.mark.parametrize("wrong", [b"", b"\0", b"\xff\xff", b"\0\0", b"\0\1\0\0\0\1\0\1\xff"])
def test_what_is_no_subscription_is_refused(wrong):
    for decode in (decode_subscription, decode_assignment):
        with pytest.raises(Malformed):
            decode(wrong)


def test_nothing_may_be_left_over_in_a_version_that_is_known():
    with pytest.raises(Malformed, match="left over"):
        decode_assignment(encode_assignment({}) + b"\0")
