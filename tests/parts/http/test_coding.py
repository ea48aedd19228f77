"""Content codings: RFC 9110, sections 8.4, 12.4.2, 12.5.3 and 12.5.5."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.parts.http.core.coding import (
    ACCEPT_ENCODING_CHARACTERS_MAX,
    CODINGS_MAX,
    chosen,
    compressible,
    with_vary,
)

OURS = ("zstd", "gzip")

names = st.sampled_from(["zstd", "gzip", "br", "identity", "*"])
thousandths = st.integers(0, 1000)
listings = st.dictionaries(names, st.one_of(st.none(), thousandths), max_size=5)


def header_of(listing):
    return ", ".join(n if q is None else f"{n};q={q / 1000:.3f}" for n, q in listing.items())


def transcribed(listing, offered):
    """12.5.3, rule by rule, over what is listed; weights in thousandths, 1000 if none is told."""
    weights = {name: 1000 if q is None else q for name, q in listing.items()}

    def weight(coding):
        # "The asterisk matches any available content coding not explicitly listed in the field."
        return weights.get(coding, weights.get("*", 0))

    acceptable = [coding for coding in offered if weight(coding) > 0]
    if not acceptable:
        return None
    # "the acceptable content coding with the highest non-zero qvalue is preferred"
    best = max(acceptable, key=lambda coding: (weight(coding), -offered.index(coding)))
    return best if weight(best) >= weight("identity") else None


@settings(max_examples=1_000)
@given(listings, st.lists(st.sampled_from(["zstd", "gzip", "br"]), unique=True))
def test_a_coding_is_chosen_by_the_rules_of_the_rfc(listing, offered):
    assert chosen(header_of(listing), offered) == transcribed(listing, offered)


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        (None, None),
        ("compress, gzip", "gzip"),  # the five examples of 12.5.3
        ("", None),
        ("*", "zstd"),
        ("compress;q=0.5, gzip;q=1.0", "gzip"),
        ("gzip;q=1.0, identity; q=0.5, *;q=0", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, zstd;q=0.9", "gzip"),
        ("gzip;q=0", None),
        ("gzip;q=0, *", "zstd"),
        ("*, zstd;q=0, gzip;q=0.001", None),
        ("identity;q=0, *, zstd;q=0, gzip;q=0.001", "gzip"),
        ("identity, gzip;q=0.5", None),
        ("identity, gzip", "gzip"),
        ("identity;q=0", None),
        ("*;q=0", None),
        ("GZip;Q=0.5", "gzip"),
        ("x-gzip", "gzip"),  # 8.4.1.3
        ("gzip ;\tq=0.", None),
        ("gzip;q=1.", "gzip"),
        ("gzip;q=1.000", "gzip"),
        (", gzip ,,", "gzip"),
        ("br", None),
    ],
)
def test_headers_mean_what_the_rfc_says(header, coding):
    assert chosen(header, OURS) == coding


@pytest.mark.parametrize(
    "header",
    [
        *("gzip;q=1.001", "gzip;q=0.0001", "gzip;q=2", "gzip;q=-1", "gzip;q=", "gzip;q=.5"),
        *("gzip;q=1e0", "gzip;q = 1", "gzip;level=1", "gzip;q=1;x=y", "gzip;", "gzip zstd"),
        *('"gzip"', "gzip;q=¹", "gzip\n", "gzip/1"),
    ],
)
def test_what_is_malformed_is_answered_as_it_is(header):
    """12.4.2: at most three digits, from 0 to 1."""
    assert chosen(header, OURS) is None


@pytest.mark.limit("http.ACCEPT_ENCODING_CHARACTERS_MAX")
def test_a_header_that_is_too_long_is_answered_as_it_is():
    longest = "gzip,".rjust(ACCEPT_ENCODING_CHARACTERS_MAX)
    assert chosen(longest, OURS) == "gzip"
    assert chosen(f"{longest},", OURS) is None


@pytest.mark.limit("http.CODINGS_MAX")
def test_a_header_of_too_many_codings_is_answered_as_it_is():
    most = ",".join(["a"] * (CODINGS_MAX - 1) + ["gzip"])
    assert chosen(most, OURS) == "gzip"
    assert chosen(f"{most},a", OURS) is None


@given(st.text("gzip*;q=01., \t", max_size=24))
def test_any_text_is_read_without_an_error(header):
    assert chosen(header, OURS) in (*OURS, None)


@pytest.mark.parametrize(
    "content_type",
    [
        *(
            "text/html",
            "text/plain; charset=utf-8",
            "TEXT/CSS",
            "text/javascript",
            "text/x-anything",
        ),
        *("application/json", "application/problem+json", "application/manifest+json;v=1"),
        *("application/javascript", "application/xml", "application/rss+xml", "image/svg+xml"),
        *("application/wasm", "Application/JSON ; charset=utf-8"),
    ],
)
def test_text_and_what_is_text_inside_gets_smaller(content_type):
    assert compressible(content_type)


@pytest.mark.parametrize(
    "content_type",
    [
        *("image/png", "image/jpeg", "image/webp", "image/avif", "video/mp4", "audio/ogg"),
        *("application/zip", "application/gzip", "font/woff2", "application/octet-stream"),
        *("text/event-stream", "text/event-stream; charset=utf-8", "multipart/byteranges", ""),
        *("application/jsonish", "json", "texts/plain"),
    ],
)
def test_what_is_compressed_already_or_must_leave_at_once_is_left_alone(content_type):
    assert not compressible(content_type)


@pytest.mark.parametrize(
    ("value", "name", "vary"),
    [
        ("", "accept-encoding", "accept-encoding"),
        ("accept", "accept-encoding", "accept, accept-encoding"),
        ("Accept, Accept-Encoding", "accept-encoding", "Accept, Accept-Encoding"),
        ("accept-encoding", "Accept-Encoding", "accept-encoding"),
        ("*", "accept-encoding", "*"),
        ("accept, *", "accept-encoding", "accept, *"),
        ("x-accept-encoding", "accept-encoding", "x-accept-encoding, accept-encoding"),
    ],
)
def test_vary_names_each_header_once(value, name, vary):
    """12.5.5: "either the wildcard member "*" or a list of request field names"."""
    assert with_vary(value, name) == vary
    assert with_vary(vary, name) == vary
