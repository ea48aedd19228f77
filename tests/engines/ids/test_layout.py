"""Ids and words, taken apart again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.engines.ids.contract import Decoded, NotAnId
from bastide.engines.ids.core import radix
from bastide.engines.ids.core.layout import (
    BASTIDE,
    INSTAGRAM,
    PRESETS,
    TEXT,
    TWITTER,
    Layout,
    from_text,
    to_text,
)

LAYOUTS = [*PRESETS.values(), TEXT]


@st.composite
def stamps(draw: st.DrawFn) -> tuple[Layout, Decoded]:
    layout = draw(st.sampled_from(LAYOUTS))
    at_ms = draw(st.integers(layout.epoch_ms, layout.last_ms))
    worker = draw(st.integers(0, layout.workers - 1))
    return layout, Decoded(at_ms, worker, draw(st.integers(0, layout.sequences - 1)))


@given(stamps())
def test_what_is_encoded_is_decoded(stamp: tuple[Layout, Decoded]) -> None:
    layout, said = stamp
    assert layout.decode(layout.encode(said.at_ms, said.worker, said.sequence)) == said


@given(stamps(), st.integers(0, 1 << 41), st.integers(0, 1 << 22))
def test_ids_compare_as_their_times(
    stamp: tuple[Layout, Decoded], later_ms: int, below: int
) -> None:
    layout, said = stamp
    other_ms = min(said.at_ms + later_ms, layout.last_ms)
    worker = below % layout.workers
    id_ = layout.encode(said.at_ms, said.worker, said.sequence)
    other = layout.encode(other_ms, worker, below % layout.sequences)
    assert (id_ < other) == (
        (said.at_ms, said.worker, said.sequence) < (other_ms, worker, below % layout.sequences)
    )


@pytest.mark.box("ids.layout-41-10-12")
@pytest.mark.parametrize("layout", [BASTIDE, TWITTER])
def test_an_id_is_41_bits_of_time_10_of_worker_12_of_sequence(layout: Layout) -> None:
    assert layout.encode(layout.epoch_ms + 1, 0, 0) == 1 << 22
    assert layout.encode(layout.epoch_ms, 1, 0) == 1 << 12
    assert layout.encode(layout.epoch_ms, 0, 1) == 1
    assert layout.encode(layout.last_ms, 1023, 4095) == (1 << 63) - 1


def test_twitters_epoch_is_4_november_2010() -> None:
    # A status that Twitter shows under 7 November 2012, 00:00 to 24:00 UTC.
    assert 1352246400000 <= TWITTER.decode(266031293945503744).at_ms < 1352332800000


def test_a_layout_lasts_69_years() -> None:
    assert 69 < (BASTIDE.last_ms - BASTIDE.epoch_ms) / (365.25 * 86_400_000) < 70


@pytest.mark.box("ids.instagram-preset")
def test_instagrams_id_holds_its_shard() -> None:
    # "Sharding & IDs at Instagram": 1387263000 ms after the epoch, shard 1341 of user 31341, the
    # 5001st number of its table.
    id_ = INSTAGRAM.encode(INSTAGRAM.epoch_ms + 1387263000, 1341, 5001 % 1024)
    assert id_ == 1387263000 << 23 | 1341 << 10 | 905


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_number_outside_the_layout_is_no_id(layout: Layout) -> None:
    last = layout.encode(layout.last_ms, layout.workers - 1, layout.sequences - 1)
    assert layout.decode(last).at_ms == layout.last_ms
    for wrong in (last + 1, -1, -(1 << 70)):
        with pytest.raises(NotAnId):
            layout.decode(wrong)


@pytest.mark.box("ids.string-variant")
@given(st.integers(0, 36**8 - 1), st.integers(0, 9999), st.integers(0, 999))
def test_a_text_is_base36_time_4_digits_of_server_3_of_sequence(
    at_ms: int, worker: int, sequence: int
) -> None:
    id_ = TEXT.encode(at_ms, worker, sequence)
    text = to_text(id_)
    assert int(text[:8], 36) == at_ms
    assert text[8:] == f"{worker:04}{sequence:03}"
    assert from_text(text) == id_


@given(st.lists(st.integers(0, 36**8 * 10**7 - 1), min_size=2))
def test_texts_sort_as_their_numbers(ids: list[int]) -> None:
    assert sorted(map(to_text, ids)) == [to_text(id_) for id_ in sorted(ids)]


@pytest.mark.parametrize(
    "text",
    ["", "mi3t7k2p", "mi3t7k2p004200", "mi3t7k2p00420077", "MI3T7K2P0042007", "mi3t7k2p004200x"],
)
def test_a_text_that_we_did_not_make_is_no_id(text: str) -> None:
    with pytest.raises(NotAnId):
        from_text(text)


ALPHABETS = st.sampled_from([radix.BASE36, radix.BASE62, radix.BASE64URL])


@given(st.integers(0, 1 << 128), ALPHABETS, st.integers(1, 30))
def test_a_word_is_decoded_to_its_number(number: int, alphabet: str, width: int) -> None:
    word = radix.encode(number, alphabet, width=width)
    assert len(word) >= width
    assert radix.decode(word, alphabet) == number


@pytest.mark.box("ids.base62")
def test_seven_characters_of_base62_are_3_and_a_half_trillion_words() -> None:
    assert radix.encode(62**7 - 1, radix.BASE62, width=7) == "zzzzzzz"
    assert radix.encode(0, radix.BASE62, width=7) == "0000000"
    assert 3.5e12 < 62**7 < 3.53e12


def test_a_word_may_have_64_digits_and_no_more() -> None:
    assert radix.decode("0" * 64, radix.BASE62) == 0
    for wrong in ("", "0" * 65, "a b", "-", "é", "\u0661"):
        with pytest.raises(NotAnId):
            radix.decode(wrong, radix.BASE62)
