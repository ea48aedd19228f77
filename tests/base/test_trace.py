"""Trace context: W3C Recommendation "Trace Context", sections 3 and 4."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.base.routes.trace import (
    TRACESTATE_CHARACTERS_MAX,
    TRACESTATE_MEMBERS_MAX,
    Trace,
    begun,
    child,
    state_of,
    trace_of,
)

ID, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
EXAMPLE = f"00-{ID}-{PARENT}-01"  # 3.2.3

trace_ids = st.binary(min_size=16, max_size=16).filter(any)
span_ids = st.binary(min_size=8, max_size=8).filter(any)
versions = st.integers(1, 254).map("{:02x}".format)


def test_the_examples_of_the_recommendation_are_read():
    """3.2.3: sampled, and not."""
    assert trace_of(EXAMPLE) == Trace(ID, PARENT, sampled=True)
    assert trace_of(f"00-{ID}-{PARENT}-00") == Trace(ID, PARENT, sampled=False)


@given(trace_ids, span_ids, st.booleans())
def test_a_child_is_read_as_it_was_written(trace_id, span_id, sampled):
    header = child(begun(trace_id, sampled=sampled), span_id)
    assert trace_of(header) == Trace(trace_id.hex(), span_id.hex(), sampled)


@given(span_ids)
def test_a_child_keeps_the_trace_and_has_its_own_id(span_id):
    """4.3: parent-id "MUST be set to a value representing the ID of the current operation"."""
    assert child(trace_of(EXAMPLE), span_id) == f"00-{ID}-{span_id.hex()}-01"


@given(st.integers(0, 255))
def test_of_the_flags_only_sampled_is_read_and_passed_on(flags):
    """4.3: "set all unparsed / unknown trace-flags to 0 on outgoing requests"."""
    trace = trace_of(f"00-{ID}-{PARENT}-{flags:02x}")
    assert trace.sampled == bool(flags & 1)
    assert child(trace, b"\x01" * 8)[-3:] == ("-01" if flags & 1 else "-00")


@given(versions, st.sampled_from(["", "-", "-what-the-future-holds", "-" + "x" * 10_000]))
def test_a_higher_version_is_read_as_00_and_passed_on_as_00(version, rest):
    """3.2.4: flags are followed by "either the end of the string or a dash"."""
    trace = trace_of(f"{version}-{ID}-{PARENT}-01{rest}")
    assert trace == Trace(ID, PARENT, sampled=True)
    assert child(trace, b"\x01" * 8).startswith("00-")


@given(versions, st.text(min_size=1, max_size=4).filter(lambda text: text[0] != "-"))
def test_a_higher_version_that_goes_on_without_a_dash_is_none(version, rest):
    assert trace_of(f"{version}-{ID}-{PARENT}-01{rest}") is None


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        EXAMPLE[:-1],
        EXAMPLE + "-",
        EXAMPLE + "-00",
        EXAMPLE + "0",
        EXAMPLE + "\n",
        " " + EXAMPLE,
        f"ff-{ID}-{PARENT}-01",
        f"0-{ID}-{PARENT}-01",
        f"0x-{ID}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{ID}-{'0' * 16}-01",
        f"00-{ID.upper()}-{PARENT}-01",
        f"00-{ID}-{PARENT.upper()}-01",
        f"CC-{ID}-{PARENT}-01",
        f"00-{ID}-{PARENT}-0A",
        f"00-{ID[:-1]}g-{PARENT}-01",
        f"00-{ID[:-1]}²-{PARENT}-01",
        f"00-{ID}{PARENT}-01",
        f"00_{ID}_{PARENT}_01",
        f"{EXAMPLE}, {EXAMPLE}",
    ],
)
def test_what_can_not_be_read_begins_a_new_trace(header):
    assert trace_of(header) is None


@given(st.integers(0, 54), st.characters(max_codepoint=0x17F))
def test_one_character_that_is_none_of_its_place_makes_it_unreadable(place, character):
    changed = EXAMPLE[:place] + character + EXAMPLE[place + 1 :]
    good = "-" if EXAMPLE[place] == "-" else "0123456789abcdef"
    if character not in good:
        assert trace_of(changed) is None
    elif changed[:2] != "ff":
        assert trace_of(changed) is not None


@pytest.mark.parametrize("bytes_", [bytes(16), b"\x01" * 15, b"\x01" * 17])
def test_a_trace_begins_with_16_bytes_that_are_not_all_zero(bytes_):
    with pytest.raises(AssertionError):
        begun(bytes_, sampled=False)


@pytest.mark.parametrize("bytes_", [bytes(8), b"\x01" * 7, b"\x01" * 9])
def test_a_step_has_8_bytes_that_are_not_all_zero(bytes_):
    with pytest.raises(AssertionError):
        child(trace_of(EXAMPLE), bytes_)


@pytest.mark.parametrize(
    "tracestate",
    [
        "rojo=00f067aa0ba902b7",  # 3.3.2
        "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
        "rojo=1 ,\t congo=2",
        "a=1,,b=2, ",
        "fw529a3039@dt=FfAAAA",
        "0tenant@system=1",
        "a_-*/0=~!.;:\\ x",
        f"{'k' * 256}=1",
        f"k={'v' * 256}",
        f"{'t' * 241}@{'s' * 14}=1",
    ],
)
def test_what_others_note_is_passed_on_as_it_came(tracestate):
    assert state_of(tracestate) == tracestate


@pytest.mark.parametrize(
    "tracestate",
    [
        *(None, "", ",", " ", "a", "a=", "=1", "A=1", "a=1=2", "a=1 b=2", "a =1", "a=\t1"),
        *("0a=1", "a@0b=1", "@a=1", "a@=1", "a@b@c=1", "a=é", "a=1\r\nx: y", "a=1 b=2,c"),
        *("a=1,a=2", "a=1,b=2,a=1"),  # 3.3.1.4: "Only one entry per key is allowed"
        *(f"{'k' * 257}=1", f"k={'v' * 257}", f"{'t' * 242}@s=1", f"t@{'s' * 15}=1"),
    ],
)
def test_what_is_malformed_or_names_a_key_twice_is_dropped_whole(tracestate):
    assert state_of(tracestate) == ""


@pytest.mark.limit("http.TRACESTATE_MEMBERS_MAX")
def test_32_members_are_passed_on_and_33_are_dropped():
    """3.3.1.1: "a maximum of 32 list-members"."""
    most = ",".join(f"k{n}={n}" for n in range(TRACESTATE_MEMBERS_MAX))
    assert state_of(most) == most
    assert state_of(f"{most},k=1") == ""


@pytest.mark.limit("http.TRACESTATE_CHARACTERS_MAX")
def test_512_characters_are_passed_on_and_513_are_dropped():
    """3.3.1.5: "at least 512 characters of a combined header"."""
    longest = f"a={'v' * 256},b=".ljust(TRACESTATE_CHARACTERS_MAX, "v")
    assert state_of(longest) == longest
    assert state_of(f"{longest},") == ""


@given(st.text("ab=@,1 \t", max_size=24))
def test_any_text_is_passed_on_whole_or_not_at_all(tracestate):
    assert state_of(tracestate) in (tracestate, "")
