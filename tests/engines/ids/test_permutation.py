"""Bijections that nobody without the key can follow."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.engines.ids.core.permutation import Permutation

KEY = b"0123456789abcdef"


@pytest.mark.box("ids.codes-do-not-collide")
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 9, 10, 61, 62, 63, 64, 100, 1000, 3844, 3845])
def test_a_small_permutation_gives_each_number_once(size: int) -> None:
    permutation = Permutation(size, KEY)
    permuted = [permutation.permute(number) for number in range(size)]
    assert sorted(permuted) == list(range(size))
    assert [permutation.restore(number) for number in permuted] == list(range(size))


@settings(max_examples=60)
@given(st.integers(1, 62**10), st.binary(min_size=1, max_size=64), st.data())
def test_a_large_permutation_is_taken_back(size: int, key: bytes, data: st.DataObject) -> None:
    permutation = Permutation(size, key)
    number = data.draw(st.integers(0, size - 1))
    permuted = permutation.permute(number)
    assert 0 <= permuted < size
    assert permutation.restore(permuted) == number


def test_another_key_is_another_permutation() -> None:
    size, numbers = 62**7, range(100)
    one, other = Permutation(size, KEY), Permutation(size, KEY[::-1])
    assert all(one.permute(n) != other.permute(n) for n in numbers)


@pytest.mark.box("ids.codes-unpredictable")
def test_neighbours_are_spread_as_at_random() -> None:
    """The sum of 64 uniform cells over 6,400 draws: chi-square is below 140 but for one key in
    a million.
    """
    size, draws, cells = 62**4, 6_400, 64
    permutation = Permutation(size, KEY)
    permuted = [permutation.permute(number) for number in range(draws)]
    for values, bound in (
        (permuted, size),
        ([(b - a) % size for a, b in pairwise(permuted)], size),
    ):
        counts = [0] * cells
        for value in values:
            counts[value * cells // bound] += 1
        expected = len(values) / cells
        assert sum((count - expected) ** 2 / expected for count in counts) < 140
