"""A stream of bytes is cut into the same frames however it comes."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.engines.log.wire.codec.errors import FrameBroken
from bastide.engines.log.wire.codec.frames import PIECE_BYTES_MIN, Frames


def framed(*frames):
    return b"".join(len(frame).to_bytes(4) + frame for frame in frames)


def fed(pieces, frame_bytes_max=1 << 20):
    frames = Frames(frame_bytes_max=frame_bytes_max)
    found = [frame for piece in pieces for frame in frames.feed(piece)]
    return found, frames


@given(st.lists(st.binary(max_size=50)), st.data())
def test_frames_are_the_same_in_whichever_pieces_they_come(frames, data):
    stream = framed(*frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    edges = [0, *cuts, len(stream)]
    found, left = fed(stream[a:b] for a, b in pairwise(edges))
    assert found == frames
    assert left.pending_bytes == 0


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1_000, PIECE_BYTES_MIN - 1, PIECE_BYTES_MIN, 65_536])
def test_a_large_frame_comes_in_pieces_of_any_size(size):
    large = bytes(range(251)) * 1_000
    stream = framed(b"before", large, b"", large, b"behind")
    found, left = fed(stream[at : at + size] for at in range(0, len(stream), size))
    assert found == [b"before", large, b"", large, b"behind"]
    assert left.pending_bytes == 0


def test_frames_are_bytes():
    found, _ = fed([framed(b"abc")[:5], framed(b"abc")[5:], framed(b"d")])
    assert [type(frame) for frame in found] == [bytes, bytes]


def test_what_is_not_whole_is_held():
    found, left = fed([b"\0\0"])
    assert (found, left.pending_bytes) == ([], 2)
    assert left.feed(b"\0\x05ab") == []
    assert left.pending_bytes == 2
    assert left.feed(b"cde\0") == [b"abcde"]
    assert left.pending_bytes == 1


def test_a_frame_has_at_most_so_many_bytes():
    largest = bytes(1_000)
    assert fed([framed(largest)], 1_000)[0] == [largest]
    assert fed([framed(b"")], 0)[0] == [b""]
    for size in (1_001, (1 << 31) - 1):
        with pytest.raises(FrameBroken) as caught:
            fed([size.to_bytes(4)], 1_000)
        assert caught.value.facts == {"size_bytes": size, "frame_bytes_max": 1_000}


def test_a_length_below_zero_is_none():
    for length in (b"\xff\xff\xff\xff", b"\x80\0\0\0"):
        with pytest.raises(FrameBroken):
            fed([framed(b"good") + length])


def test_a_byte_at_a_time_is_held_in_little_more_than_its_size():
    frames = Frames(frame_bytes_max=1 << 20)
    frames.feed((1 << 20).to_bytes(4))
    for _ in range(100_000):
        frames.feed(b"x")
    assert frames.pending_bytes == 100_000
    assert len(frames._pieces) <= 100_000 // PIECE_BYTES_MIN + 1
