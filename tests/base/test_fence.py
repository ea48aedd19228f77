"""What a fence is, whatever it guards."""

import pytest

from bastide.base.errors import Conflict, Invalid
from bastide.base.fence import (
    FENCE_NAME_BYTES_MAX,
    TOKEN_MAX,
    Deposed,
    Fence,
    FenceRefused,
)


def test_an_equal_or_newer_token_passes_and_an_older_one_is_told_which_is_the_newest():
    Fence("lock", 7).check(0)
    Fence("lock", 7).check(7)
    Fence("lock", 8).check(7)
    with pytest.raises(Deposed) as refused:
        Fence("lock", 6).check(7)
    assert isinstance(refused.value, Conflict)
    assert refused.value.newest == 7
    assert refused.value.facts == {"newest": 7}


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800", "x" * (FENCE_NAME_BYTES_MAX + 1)])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(FenceRefused) as refused:
        Fence(name, 1)
    assert isinstance(refused.value, Invalid)


@pytest.mark.parametrize("token", [0, -1, TOKEN_MAX + 1])
def test_what_is_no_token_is_refused(token):
    with pytest.raises(FenceRefused):
        Fence("lock", token)


def test_the_longest_name_and_the_highest_token_are_taken():
    assert Fence("ä" * (FENCE_NAME_BYTES_MAX // 2), TOKEN_MAX).token == TOKEN_MAX
