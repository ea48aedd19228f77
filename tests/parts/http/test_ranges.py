"""Ranges: RFC 9110, sections 14 and 15.3.7."""

import email
import re
from email.policy import HTTP
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.parts.http.core.ranges import (
    BOUNDARY_CHARACTERS_MAX,
    Byteranges,
    Range,
    content_range,
    content_range_unsatisfied,
    ranges_of,
)

SIZE = 10_000  # of the examples in 14.1.2
ENOUGH = 16

positions = st.integers(0, 60)
specs = st.one_of(
    st.builds("{}-{}".format, positions, positions),
    st.builds("{}-".format, positions),
    st.builds("-{}".format, positions),
)
headers = st.lists(specs, min_size=1, max_size=ENOUGH).map(lambda found: "bytes=" + ",".join(found))


def asked(header, size):
    """14.1.2, written down: the bytes that each spec means, in order; None if it is invalid."""
    found = []
    for first, last in re.findall(r"(\d*)-(\d*)", header):
        if first and last and int(last) < int(first):
            return None
        if not first:
            found.append(list(range(size))[-int(last) :] if int(last) else [])
        else:
            until = int(last) + 1 if last else size
            found.append(list(range(size))[int(first) : until])
    return found


def pairs(header, size=SIZE, **limits):
    found = ranges_of(header, size, **limits)
    return found if found is None else [(r.first, r.last) for r in found]


@pytest.mark.parametrize(
    ("header", "ranges"),
    [
        ("bytes=0-499", [(0, 499)]),
        ("bytes=500-999", [(500, 999)]),
        ("bytes=-500", [(9500, 9999)]),
        ("bytes=9500-", [(9500, 9999)]),
        ("bytes=0-0,-1", [(0, 0), (9999, 9999)]),
        ("bytes= 0-999, 4500-5499, -1000", [(0, 999), (4500, 5499), (9000, 9999)]),
        ("bytes=500-600,601-999", [(500, 999)]),
        ("bytes=500-700,601-999", [(500, 999)]),
    ],
)
def test_the_examples_of_the_rfc_mean_what_it_says(header, ranges):
    """14.1.2."""
    assert pairs(header) == ranges


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=a-b",
        "bytes=1",
        "bytes=-",
        "bytes=--1",
        "bytes=1--2",
        "bytes=1-2-3",
        "bytes=1 -2",
        "bytes=1- 2",
        "bytes=+1-2",
        "bytes=0x1-2",
        "bytes=1-2;3-4",
        "bytes=1-2 3-4",
        "bytes=1-2\n",
        "bytes=\u0661-\u0662",
        "bytes=²-³",
        "bytes =1-2",
        "bytes:1-2",
        " bytes=1-2",
        "lines=1-2",
        "bytes=5-4",
        "bytes=0-1,5-4",
        "bytes=0-1,x",
        f"bytes={10**30}-{10**29}",
    ],
)
def test_what_is_malformed_or_of_another_unit_is_ignored(header):
    """14.2: "A server ... MAY ignore or reject a Range header field that contains an invalid
    ranges-specifier"; "MUST ignore a Range header field that contains a range unit it does not
    understand".
    """
    assert ranges_of(header, SIZE) is None


@pytest.mark.parametrize("header", ["Bytes=0-1", "BYTES=0-1", "bytes=0-1,", "bytes=,,0-1 \t,"])
def test_the_unit_has_no_case_and_the_list_may_have_gaps(header):
    """14.1: "All range unit names are case-insensitive"."""
    assert pairs(header) == [(0, 1)]


@pytest.mark.parametrize("header", ["bytes=10000-", "bytes=10000-10001,20000-", "bytes=-0"])
def test_a_range_behind_the_end_can_not_be_satisfied(header):
    """14.1.2: satisfiable is "an int-range with a first-pos that is less than the current length"
    or "a suffix-range with a non-zero suffix-length".
    """
    assert pairs(header) == []
    assert content_range_unsatisfied(SIZE) == "bytes */10000"


def test_one_range_that_can_be_satisfied_is_enough():
    assert pairs("bytes=10000-,9999-,-0") == [(9999, 9999)]


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=-1", "bytes=0-0", "bytes=5-"])
def test_nothing_has_no_parts(header):
    """14.2: "MAY ignore a Range header field when the selected representation has no content"."""
    assert ranges_of(header, 0) is None


def test_positions_of_any_length_are_read():
    """14.1.2: "MUST anticipate potentially large decimal numerals"."""
    huge = "9" * 30_000
    assert pairs(f"bytes=1-{huge}") == [(1, 9999)]
    assert pairs(f"bytes=-{huge}") == [(0, 9999)]
    assert pairs(f"bytes={huge}-{huge}") == []
    assert pairs(f"bytes={'0' * 30_000}7-{'0' * 20_000}8") == [(7, 8)]
    assert pairs(f"bytes=-{'0' * 30_000}") == []
    assert ranges_of(f"bytes={huge}-5", SIZE) is None


@given(headers, st.integers(1, 50))
def test_what_is_sent_is_what_was_asked_for_and_each_byte_once(header, size):
    wanted = asked(header, size)
    found = ranges_of(header, size, ranges_max=ENOUGH)
    if wanted is None:
        assert found is None
        return
    assert found is not None
    sent = [byte for r in found for byte in range(r.first, r.last + 1)]
    assert sorted(sent) == sorted(set().union(*wanted))
    assert sum(r.length for r in found) == len(sent)


@pytest.mark.parametrize(
    ("header", "ranges"),
    [
        ("bytes=30-31,0-1", [(30, 31), (0, 1)]),
        ("bytes=5-10,30-31,8-12", [(5, 12), (30, 31)]),
        ("bytes=8-12,30-31,5-10", [(5, 12), (30, 31)]),
        ("bytes=30-31,5-10,0-1,8-12", [(30, 31), (5, 12), (0, 1)]),
    ],
)
def test_what_is_coalesced_stands_where_its_first_part_was_asked_for(header, ranges):
    assert pairs(header) == ranges


@given(headers, st.integers(1, 50))
def test_ranges_never_touch_and_stand_in_the_order_asked_for(header, size):
    """15.3.7.2: "in the same order that the corresponding range-spec appeared", but for those that
    were coalesced.
    """
    found = ranges_of(header, size, ranges_max=ENOUGH) or []
    ascending = sorted(found, key=lambda r: r.first)
    assert all(a.last + 1 < b.first for a, b in pairwise(ascending))
    wanted = [parts for parts in asked(header, size) or [] if parts]
    places = [
        min(i for i, parts in enumerate(wanted) if r.first <= parts[0] <= r.last) for r in found
    ]
    assert places == sorted(places)


@pytest.mark.limit("http.ranges_max")
def test_more_ranges_than_the_most_are_ignored():
    """14.2 allows it for "many small ranges"; CVE-2011-3192 had 1,300."""
    eight = "bytes=" + ",".join(f"{n}0-{n}1" for n in range(1, 9))
    assert len(ranges_of(eight, SIZE)) == 8
    assert ranges_of(f"{eight},95-96", SIZE) is None
    assert ranges_of(f"{eight},0-", SIZE) is None
    assert ranges_of("bytes=" + ",".join(f"5-{n}" for n in range(5, 1_305)), SIZE) is None
    assert pairs("bytes=0-1,3-4", ranges_max=2) == [(0, 1), (3, 4)]
    assert ranges_of("bytes=0-1,3-4,6-7", SIZE, ranges_max=2) is None


def test_content_range_says_which_part_of_what():
    """14.4."""
    assert content_range(Range(42, 1233), 1234) == "bytes 42-1233/1234"


@given(
    content=st.binary(min_size=1, max_size=200),
    header=headers,
    media_type=st.sampled_from(["text/plain", "application/octet-stream", "image/svg+xml"]),
)
def test_a_stranger_reads_the_parts_and_the_length_was_right(content, header, media_type):
    """14.6, read by the standard library's MIME parser."""
    ranges = ranges_of(header, len(content), ranges_max=ENOUGH)
    if not ranges:
        return
    framing = Byteranges(ranges, len(content), media_type, "b0undary5f3a9c1e77d2")
    body = b""
    for range_ in ranges:
        body += framing.head(range_) + content[range_.first : range_.last + 1]
    body += framing.end
    assert len(body) == framing.length
    head = f"content-type: {framing.content_type}\r\ncontent-transfer-encoding: 8bit\r\n\r\n"
    message = email.message_from_bytes(head.encode() + body, policy=HTTP)
    parts = message.get_payload()
    assert [part["content-type"] for part in parts] == [media_type] * len(ranges)
    told = [part["content-range"] for part in parts]
    assert told == [content_range(range_, len(content)) for range_ in ranges]
    assert not message.defects


def test_parts_are_framed_as_in_the_rfc():
    """15.3.7.2, with the CRLF that may precede the first boundary (14.6)."""
    parts = [Range(500, 999), Range(7000, 7999)]
    framing = Byteranges(parts, 8000, "application/pdf", "THIS_STRING_SEPARATES")
    assert framing.content_type == "multipart/byteranges; boundary=THIS_STRING_SEPARATES"
    assert framing.head(parts[0]) == (
        b"\r\n--THIS_STRING_SEPARATES\r\n"
        b"content-type: application/pdf\r\n"
        b"content-range: bytes 500-999/8000\r\n\r\n"
    )
    assert framing.end == b"\r\n--THIS_STRING_SEPARATES--\r\n"
    heads = sum(len(framing.head(part)) for part in parts)
    assert framing.length == 500 + 1000 + heads + len(framing.end)


@pytest.mark.limit("http.BOUNDARY_CHARACTERS_MAX")
def test_a_boundary_is_a_token_of_at_most_70_characters():
    parts = [Range(0, 0), Range(2, 2)]
    assert Byteranges(parts, 3, "text/plain", "b" * BOUNDARY_CHARACTERS_MAX).length
    for boundary in ("b" * (BOUNDARY_CHARACTERS_MAX + 1), "", "a b", 'a"b', "a\r\nb"):
        with pytest.raises(AssertionError):
            Byteranges(parts, 3, "text/plain", boundary)
    with pytest.raises(AssertionError):
        Byteranges(parts, 3, "text/plain\r\nx: y", "b")
