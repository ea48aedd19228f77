"""How an event is written, held against the rules of CloudEvents and against any bytes."""

import json
import re
from datetime import datetime
from typing import ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.base.events import Event, EventTopic, name_of
from bastide.engines.bus.core import letters
from bastide.engines.bus.core.envelopes import (
    Unreadable,
    journalled,
    opened,
    packed,
    sealed,
    unjournalled,
    unpacked,
)
from bastide.engines.bus.core.reading import Reader
from bastide.engines.bus.core.turns import BATCH_EVENTS_MIN, RETRY_MAX_S, next_batch, wait_s

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,8}\.v[1-9]", fullmatch=True)
TOPICS = st.from_regex(r"[a-z][a-z0-9]{0,8}(\.[a-z][a-z0-9-]{0,8}){1,2}", fullmatch=True)
SOURCES = st.from_regex(r"[a-z]{1,10}-[0-9a-f]{12}", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
TIMES_MS = st.integers(0, 4_102_444_800_000)
SEQS = st.integers(0, 10**18 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)


class Held(Event, frozen=True):
    kind: ClassVar[str] = "held"

    value: str


class HeldNewer(Event, frozen=True):
    kind: ClassVar[str] = "held"
    version: ClassVar[int] = 2

    value: str
    size: int


class Brittle(Event, frozen=True):
    kind: ClassVar[str] = "brittle"

    def upgraded(self):
        raise KeyError("no longer")


TOPIC = EventTopic("x.held", (Held, HeldNewer, Brittle))


@given(NAMES, TIMES_MS, JSON)
def test_what_waits_comes_back(name, at_ms, value):
    data = msgspec.json.encode(value)
    found = unpacked(packed(name, at_ms, data))
    assert (found.name.decode(), int(found.at_ms), found.data) == (name, at_ms, data)


@given(TOPICS, TEXT, NAMES, TIMES_MS, JSON)
def test_what_is_journalled_comes_back_whatever_its_key(topic, key, name, at_ms, value):
    waiting = packed(name, at_ms, msgspec.json.encode(value))
    assert unjournalled(journalled(topic, key, waiting)) == (topic, key.encode(), waiting)


@given(TOPICS, SOURCES, SEQS, NAMES, TIMES_MS, JSON)
def test_what_is_sealed_is_opened_as_it_was(topic, source, seq, name, at_ms, value):
    found = opened(sealed(topic, source, seq, packed(name, at_ms, msgspec.json.encode(value))))
    assert (found.source, int(found.id), found.type) == (source, seq, f"{topic}.{name}")
    assert msgspec.json.decode(found.data) == value


@given(TOPICS, SOURCES, SEQS, NAMES, TIMES_MS, JSON)
def test_what_is_sealed_is_a_cloud_event(topic, source, seq, name, at_ms, value):
    """By the rules of CloudEvents 1.0 and its JSON format, and read by another JSON reader."""
    event = json.loads(sealed(topic, source, seq, packed(name, at_ms, msgspec.json.encode(value))))
    assert event["specversion"] == "1.0"
    for required in ("id", "source", "type"):
        assert isinstance(event[required], str)
        assert event[required]
    assert all(re.fullmatch(r"[a-z0-9]{1,20}", attribute) for attribute in event)
    assert re.fullmatch(r"[A-Za-z0-9._~-]+", event["source"]), "a URI reference"
    stamp = datetime.fromisoformat(event["time"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", event["time"])
    assert round(stamp.timestamp() * 1000) == at_ms
    assert event["data"] == value
    assert "data_base64" not in event


@pytest.mark.shows("bus.errors")
@given(st.none() | st.binary(max_size=300) | JSON.map(msgspec.json.encode))
def test_any_bytes_are_opened_or_unreadable(value):
    try:
        found = opened(value)
    except Unreadable:
        return
    assert 0 <= int(found.id) < 10**18


@pytest.mark.shows("bus.errors")
@given(
    st.fixed_dictionaries(
        {"specversion": st.just("1.0"), "data": JSON},
        optional={
            "id": TEXT | st.integers().map(str),
            "source": TEXT,
            "type": st.sampled_from(["x.held.held.v1", "x.held.brittle.v1", "?"]) | TEXT,
            "time": TEXT,
            "more": JSON,
        },
    )
)
def test_any_envelope_gives_an_event_or_is_unreadable(event):
    try:
        envelope = opened(msgspec.json.encode(event))
        found = Reader(TOPIC).event_in(envelope)
    except Unreadable:
        return
    assert isinstance(found, Held)
    assert re.fullmatch(r"[0-9]{1,18}", envelope.id)
    assert re.fullmatch(r"[!-~]{1,100}", envelope.source)


def test_a_reader_knows_every_version_of_its_topic_and_no_other():
    for event in (Held("a"), HeldNewer("a", 1)):
        waiting = packed(name_of(type(event)), 1, msgspec.json.encode(event))
        assert Reader(TOPIC).event_in(opened(sealed("x.held", "s", 1, waiting))) == event
        with pytest.raises(Unreadable, match="unknown event"):
            Reader(TOPIC).event_in(opened(sealed("y.held", "s", 1, waiting)))


def test_what_can_not_be_brought_up_to_date_is_unreadable():
    envelope = opened(sealed("x.held", "s", 1, packed("brittle.v1", 1, b"{}")))
    with pytest.raises(Unreadable, match="no longer"):
        Reader(TOPIC).event_in(envelope)


@given(st.none() | st.binary(max_size=2_000) | st.text().map(lambda t: t.encode(errors="replace")))
def test_a_dead_letter_gives_back_what_the_log_held(value):
    shown, is_base64 = letters.shown_value(value)
    letter = letters.DeadLettered("t.a", 0, 0, "g", "k", shown, is_base64, "r", 1, 1)
    again = msgspec.json.decode(msgspec.json.encode(letter), type=letters.DeadLettered)
    assert letters.value_of(again) == (value or b"")


@given(st.binary(max_size=64), st.sampled_from([1, 5, 100_000]))
def test_a_dead_letter_takes_at_most_twice_the_room_of_what_it_holds(piece, times):
    value = (piece * times)[: letters.VALUE_BYTES_MAX + 10]
    shown, is_base64 = letters.shown_value(value)
    assert len(msgspec.json.encode(shown)) <= 2 * letters.VALUE_BYTES_MAX + 2
    kept = value[: letters.VALUE_BYTES_MAX]
    letter = letters.DeadLettered("t.a", 0, 0, "g", "k", shown, is_base64, "r", 1, 1)
    assert letters.value_of(letter) == kept


@given(st.none() | st.binary(max_size=3_000))
def test_a_dead_letter_s_key_is_text_that_any_database_takes(key):
    shown = letters.shown_key(key)
    assert "\0" not in shown
    assert len(shown) <= letters.KEY_CHARACTERS_MAX
    assert shown.encode().decode() == shown


@given(st.text(max_size=2_000))
def test_any_error_has_a_reason_that_can_be_written(message):
    reason = letters.reason_of(ValueError(message))
    assert reason.startswith("ValueError: ")
    assert len(reason) <= letters.REASON_CHARACTERS_MAX
    msgspec.json.encode(reason)


@given(st.integers(1, 60), st.floats(0.001, 2))
def test_each_try_waits_twice_as_long_and_never_longer_than_the_longest(tries, first_s):
    now_s, next_s = wait_s(tries, first_s), wait_s(tries + 1, first_s)
    assert 0 < now_s <= next_s <= RETRY_MAX_S
    assert next_s in (2 * now_s, RETRY_MAX_S)


def test_the_first_wait_is_the_one_that_is_set():
    assert wait_s(1, 0.1) == 0.1


def test_who_falls_behind_takes_more_at_a_time_and_less_again_when_little_comes():
    asked = [BATCH_EVENTS_MIN]
    for came in (250, 500, 1_000, 2_000, 4_000, 5_000, 4_999, 3, 250):
        asked.append(next_batch(asked[-1], came))
    assert asked == [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000, 2_500, 1_250, 625]
