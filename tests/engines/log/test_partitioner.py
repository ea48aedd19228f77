"""Keys and partitions, against what Kafka publishes and against a client that is not ours."""

import pytest
from aiokafka.partitioner import murmur2 as their_murmur2
from hypothesis import given
from hypothesis import strategies as st

from bastide.engines.log.core.partitioner import murmur2, partition_of

KNOWN = {  # of Kafka's own tests, signed as Java has them
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("key", "hash_"), KNOWN.items())
def test_the_hash_is_the_one_that_kafka_publishes(key, hash_):
    assert murmur2(key) == hash_ & 0xFFFFFFFF


@given(st.binary(max_size=100))
def test_the_hash_is_that_of_another_client(key):
    assert murmur2(key) == their_murmur2(key) & 0xFFFFFFFF


@given(st.binary(max_size=20), st.integers(1, 1000))
def test_a_key_has_one_partition_and_it_is_there(key, count):
    partition = partition_of(key, count)
    assert 0 <= partition < count
    assert partition == (their_murmur2(key) & 0x7FFFFFFF) % count


def test_the_sign_is_dropped_and_not_negated():
    assert partition_of(b"21", 1000) == (-973932308 & 0x7FFFFFFF) % 1000
    assert partition_of(b"21", 1000) != 973932308 % 1000


def test_keys_are_spread():
    found = [partition_of(b"key-%d" % n, 10) for n in range(10_000)]
    assert all(800 < found.count(partition) < 1200 for partition in range(10))
