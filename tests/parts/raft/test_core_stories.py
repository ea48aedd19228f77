"""Each transcript is told again: the same happens, the same is said, and all end alike."""

import pytest

from tests.parts.raft.core_stories import STORIES, retold

NAMES = sorted(path.stem for path in STORIES.glob("*.txt"))


@pytest.mark.box("raft.stories")
@pytest.mark.parametrize("name", NAMES)
def test_a_story_told_again_is_the_same(name):
    told = (STORIES / f"{name}.txt").read_text()
    assert retold(told) == told


def test_no_story_is_missing():
    assert len(NAMES) == 11
