"""Conditional requests: RFC 9110, section 13, against its steps written down."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.parts.http.core.conditions import (
    TAGS_MAX,
    Current,
    Outcome,
    equal_strong,
    equal_weak,
    evaluate,
    is_tag,
    takes_part,
)
from bastide.parts.http.core.dates import http_date

NOW_S = 1_700_000_000
CHANGED_S = NOW_S - 1_000
TAG = '"xyzzy"'

tags = st.builds(
    "{}{}".format, st.sampled_from(["", "W/"]), st.sampled_from(['"a"', '"b"', '"a,b"', '"\\"'])
)
dates = st.integers(CHANGED_S - 1, CHANGED_S + 1)
lists = st.one_of(
    st.just("*"), st.lists(tags, max_size=3).map(", ".join), st.sampled_from(["a", '*, "a"', '"'])
)
moments = st.one_of(dates.map(http_date), st.sampled_from(["", "0", "yesterday"]))
headers = st.fixed_dictionaries(
    {},
    optional={
        "if-match": lists,
        "if-none-match": lists,
        "if-modified-since": moments,
        "if-unmodified-since": moments,
    },
)
currents = st.one_of(
    st.none(),
    st.builds(Current, etag=st.one_of(st.none(), tags), modified_s=st.one_of(st.none(), dates)),
)
methods = st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH"])


def members(header):
    """A list of the tags above, or None; no tag of theirs holds `, `."""
    known = {f"{w}{t}" for w in ("", "W/") for t in ('"a"', '"b"', '"a,b"', '"\\"')}
    found = header.split(", ") if header else []
    return found if set(found) <= known else None


def any_match(header, current, compare):
    """13.1.1 and 13.1.2, their three steps alike."""
    if header == "*":
        return current is not None
    listed = members(header)
    if listed is not None and current is not None and current.etag is not None:
        return any(compare(tag, current.etag) for tag in listed)
    return False


def strong(one, other):
    """8.8.3.2: "two entity tags are equivalent if both are not weak and their opaque-tags match
    character-by-character".
    """
    return one[0] == '"' and other[0] == '"' and one == other


def weak(one, other):
    """8.8.3.2: "equivalent if their opaque-tags match character-by-character, regardless of either
    or both being tagged as "weak"".
    """
    return one[one.index('"') :] == other[other.index('"') :]


def seconds(header):
    found = {http_date(s): s for s in range(CHANGED_S - 1, CHANGED_S + 2)}
    return found.get(header)


def transcribed(method, headers, current):
    """13.2.2, "in the following order"."""
    modified_s = current.modified_s if current else None
    # 1. When recipient is the origin server and If-Match is present
    if "if-match" in headers:
        if not any_match(headers["if-match"], current, strong):
            return Outcome.FAILED
    # 2. ... If-Match is not present, and If-Unmodified-Since is present
    elif "if-unmodified-since" in headers:
        date_s = seconds(headers["if-unmodified-since"])
        if date_s is not None and modified_s is not None and not modified_s <= date_s:
            return Outcome.FAILED
    # 3. When If-None-Match is present
    if "if-none-match" in headers:
        if any_match(headers["if-none-match"], current, weak):
            return Outcome.NOT_MODIFIED if method in ("GET", "HEAD") else Outcome.FAILED
    # 4. When the method is GET or HEAD, If-None-Match is not present, and If-Modified-Since is
    elif method in ("GET", "HEAD") and "if-modified-since" in headers:
        date_s = seconds(headers["if-modified-since"])
        if date_s is not None and modified_s is not None and modified_s <= date_s:
            return Outcome.NOT_MODIFIED
    return Outcome.PROCEED


def outcome(method="GET", current=None, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return evaluate(method, named, current, now_s=NOW_S)


@settings(max_examples=1_000)
@given(methods, headers, currents)
def test_conditions_are_evaluated_in_the_order_of_the_rfc(method, headers, current):
    assert evaluate(method, headers, current, now_s=NOW_S) == transcribed(method, headers, current)


@given(st.sampled_from(["CONNECT", "OPTIONS", "TRACE"]), headers, currents)
def test_a_method_that_selects_nothing_has_no_conditions(method, headers, current):
    """13.2.1."""
    assert evaluate(method, headers, current, now_s=NOW_S) is Outcome.PROCEED


@given(methods, currents)
def test_without_a_condition_every_request_is_done(method, current):
    assert evaluate(method, {"range": "bytes=0-1"}, current, now_s=NOW_S) is Outcome.PROCEED


@pytest.mark.parametrize(
    ("one", "other", "strong_", "weak_"),
    [
        ('W/"1"', 'W/"1"', False, True),
        ('W/"1"', 'W/"2"', False, False),
        ('W/"1"', '"1"', False, True),
        ('"1"', '"1"', True, True),
    ],
)
def test_tags_compare_as_in_the_table_of_the_rfc(one, other, strong_, weak_):
    """8.8.3.2."""
    assert equal_strong(one, other) == equal_strong(other, one) == strong_
    assert equal_weak(one, other) == equal_weak(other, one) == weak_


@given(st.characters(max_codepoint=0x17F))
def test_a_tag_may_hold_what_the_grammar_lists(character):
    """8.8.3: etagc = %x21 / %x23-7E / obs-text."""
    code = ord(character)
    allowed = code == 0x21 or 0x23 <= code <= 0x7E or 0x80 <= code <= 0xFF
    assert is_tag(f'"{character}"') == is_tag(f'W/"{character}"') == allowed


@pytest.mark.parametrize("text", ["", "a", '"', "W/", 'w/"a"', 'W"a"', '"a" ', '"a"\n', "*", "'a'"])
def test_what_is_no_tag_is_none(text):
    assert not is_tag(text)
    assert is_tag('""')


def test_put_with_if_match_does_not_overwrite_what_another_wrote():
    assert outcome("PUT", Current(TAG), if_match=TAG) is Outcome.PROCEED
    assert outcome("PUT", Current('"other"'), if_match=TAG) is Outcome.FAILED
    assert outcome("PUT", Current('W/"xyzzy"'), if_match='W/"xyzzy"') is Outcome.FAILED
    assert outcome("PUT", None, if_match="*") is Outcome.FAILED


def test_put_with_if_none_match_star_creates_and_does_not_replace():
    assert outcome("PUT", None, if_none_match="*") is Outcome.PROCEED
    assert outcome("PUT", Current(), if_none_match="*") is Outcome.FAILED


def test_get_of_what_the_client_has_sends_nothing():
    have = '"r2d2xxxx", W/"xyzzy"'
    assert outcome("GET", Current(TAG), if_none_match=have) is Outcome.NOT_MODIFIED
    assert outcome("HEAD", Current(TAG), if_none_match=have) is Outcome.NOT_MODIFIED
    assert outcome("GET", Current('"new"'), if_none_match=have) is Outcome.PROCEED
    old = http_date(CHANGED_S)
    assert outcome("GET", Current(None, CHANGED_S), if_modified_since=old) is Outcome.NOT_MODIFIED


def test_a_list_of_dates_is_no_date():
    """13.1.3 and 13.1.4."""
    two = f"{http_date(CHANGED_S)}, {http_date(CHANGED_S)}"
    assert outcome("GET", Current(None, CHANGED_S), if_modified_since=two) is Outcome.PROCEED
    late = Current(None, CHANGED_S + 1)
    assert outcome("PUT", late, if_unmodified_since=two) is Outcome.PROCEED


def test_a_date_with_two_digits_of_a_year_has_the_century_of_now():
    current = Current(None, 784_111_777)
    obsolete = "Sunday, 06-Nov-94 08:49:37 GMT"
    assert outcome("GET", current, if_modified_since=obsolete) is Outcome.NOT_MODIFIED


@pytest.mark.limit("http.TAGS_MAX")
def test_so_many_tags_are_held_against_what_is_there_and_no_more():
    most = ", ".join([*(f'"{n}"' for n in range(TAGS_MAX - 1)), TAG])
    assert outcome("GET", Current(TAG), if_none_match=most) is Outcome.NOT_MODIFIED
    assert outcome("PUT", Current(TAG), if_match=most) is Outcome.PROCEED
    assert outcome("GET", Current(TAG), if_none_match=f'{most}, "a"') is Outcome.PROCEED
    assert outcome("PUT", Current(TAG), if_match=f'{most}, "a"') is Outcome.FAILED


@given(st.text('"W/a,* \\', max_size=16))
def test_any_text_in_place_of_tags_is_read_without_an_error(text):
    found = outcome("PUT", Current('"a"'), if_match=text)
    assert (found is Outcome.PROCEED) == (
        text == "*" or (transcribable(text) and '"a"' in tags_in(text))
    )


def tags_in(text):
    """By hand, from quote to quote: what stands between is opaque, but for blanks."""
    found, rest = [], text
    while True:
        rest = rest.lstrip(" ,")
        if not rest:
            return found
        weak_ = "W/" if rest.startswith('W/"') else ""
        rest = rest.removeprefix(weak_)
        opaque, closed, after = rest[1:].partition('"')
        if rest[0] != '"' or not closed or " " in opaque:
            return None
        if after.lstrip(" ") and after.lstrip(" ")[0] != ",":
            return None
        found.append(f'{weak_}"{opaque}"')
        rest = after


def transcribable(text):
    return tags_in(text) is not None


@pytest.mark.parametrize(
    ("if_range", "current", "takes"),
    [
        (None, Current(), True),
        (TAG, Current(TAG), True),
        (TAG, Current('"other"'), False),
        (TAG, Current(None), False),
        ('W/"xyzzy"', Current('W/"xyzzy"'), False),
        ('W/"xyzzy"', Current(TAG), False),
        (TAG, Current('W/"xyzzy"'), False),
        (f"{TAG}, {TAG}", Current(TAG), False),
        ("*", Current(TAG), False),
        ("xyzzy", Current(TAG), False),
        ("", Current(TAG, CHANGED_S), False),
        (http_date(CHANGED_S), Current(None, CHANGED_S), True),
        (http_date(CHANGED_S + 1), Current(None, CHANGED_S), False),
        (http_date(CHANGED_S - 1), Current(None, CHANGED_S), False),
        (http_date(CHANGED_S), Current(TAG), False),
        (http_date(NOW_S - 1), Current(None, NOW_S - 1), True),
        (http_date(NOW_S), Current(None, NOW_S), False),
    ],
)
def test_a_part_is_taken_only_of_exactly_what_the_client_has(if_range, current, takes):
    """13.1.5: "the If-Range comparison is by exact match, including when the validator is an
    HTTP-date"; a weak validator makes it false.
    """
    assert takes_part(if_range, current, now_s=NOW_S) == takes
