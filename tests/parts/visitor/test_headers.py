"""Accept-Language and Referer: the RFCs' examples, what is refused, and where reading ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.parts.visitor.contract import LANGUAGES_MAX
from bastide.parts.visitor.core import (
    ACCEPT_LANGUAGE_CHARACTERS_MAX,
    COUNTRIES,
    REFERER_CHARACTERS_MAX,
    REFERRER_CHARACTERS_MAX,
    accepts,
    is_range,
    languages_of,
    referrer_of,
)

OWN = frozenset({"sho.rt"})


@pytest.mark.box("visitor.languages")
@pytest.mark.parametrize(
    ("header", "languages"),
    [
        ("da, en-gb;q=0.8, en;q=0.7", ("da", "en-gb", "en")),  # RFC 9110, 12.5.4
        ("en;q=0.7,da,en-GB;q=0.8", ("da", "en-gb", "en")),
        ("de-CH,de;q=0.9,fr;q=0", ("de-ch", "de")),
        ("fr;q=0.000, de;q=0.001", ("de",)),
        ("de;q=1.000 , en ; q=1", ("de", "en")),
        ("zh-Hant-TW, *;q=0.5", ("zh-hant-tw",)),
        ("de,DE;q=0.5", ("de",)),
        ("de;q=1.1,en;q=2,fr;q=-1,it;q=x,es;q=,pt;level=1,ja", ("ja",)),
        ("de_CH,german language,d3,abcdefghi,-,,;q=1,en", ("en",)),
        ("*", ()),
        ("", ()),
    ],
)
def test_languages_are_the_best_first_without_the_refused(header, languages):
    assert languages_of(header) == languages


@pytest.mark.limit("visitor.LANGUAGES_MAX")
@pytest.mark.box("visitor.languages")
def test_so_many_languages_are_read_and_no_more():
    tags = [f"x-{number}" for number in range(LANGUAGES_MAX + 1)]
    assert languages_of(",".join(tags[:-1])) == tuple(tags[:-1])
    assert languages_of(",".join(tags)) == tuple(tags[:-1])


@pytest.mark.limit("visitor.ACCEPT_LANGUAGE_CHARACTERS_MAX")
def test_a_language_that_is_cut_in_two_is_not_read():
    room = ACCEPT_LANGUAGE_CHARACTERS_MAX - len("de,en-us")
    assert languages_of("de," + " " * room + "en-us") == ("de", "en-us")
    assert languages_of("de," + " " * (room + 1) + "en-us") == ("de",)


@pytest.mark.box("visitor.languages")
@pytest.mark.parametrize(
    ("languages", "range_", "takes"),
    [
        (("de-de",), "de-de", True),  # RFC 4647, 3.3.1
        (("de-de-1996",), "de-de", True),
        (("de-deva",), "de-de", False),
        (("de-latn-de",), "de-de", False),
        (("de-ch", "en"), "de", True),
        (("deu",), "de", False),
        (("de",), "de-ch", False),
        (("en",), "*", True),
        ((), "*", False),
        ((), "de", False),
    ],
)
def test_a_range_takes_languages_by_basic_filtering(languages, range_, takes):
    assert accepts(languages, range_) == takes


@given(st.text(alphabet="dech-1*", max_size=12))
def test_a_range_is_letters_then_parts_of_letters_and_digits(text):
    parts = text.split("-")
    whole = all(part.isalnum() and len(part) <= 8 for part in parts) and parts[0].isalpha()
    assert is_range(text) == (text == "*" or whole)


@pytest.mark.box("visitor.referrer")
@pytest.mark.parametrize(
    ("referer", "host"),
    [
        ("https://example.com/a?b#c", "example.com"),
        ("http://WWW.Example.COM:8080", "example.com"),
        ("https://example.com.", "example.com"),
        ("https://user:password@example.com/", "example.com"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example"),
        ("https://www.com/", "com"),
        ("https://[2001:db8::1]:8080/", "[2001:db8::1]"),
        ("https://192.0.2.1/", "192.0.2.1"),
        ("https://sho.rt/abc", ""),
        ("https://www.sho.rt:443/abc", ""),
        ("https://sho.rt.evil.example/", "sho.rt.evil.example"),
        ("https://evil.example/?https://sho.rt", "evil.example"),
        ("https://evil.example#@sho.rt/", "evil.example"),
        ("android-app://com.slack/", ""),
        ("about:blank", ""),
        ("example.com", ""),
        ("https:///path", ""),
        ("https://a b.example/", ""),
        ("https://a\\b.example/", ""),
        ("https://bücher.example/", ""),
        ("https://.example/", ""),
        ("https://", ""),
        ("", ""),
    ],
)
def test_a_referrer_is_the_host_alone_and_never_ourselves(referer, host):
    assert referrer_of(referer, OWN) == host


@pytest.mark.box("visitor.referrer")
def test_an_own_host_may_have_its_www():
    assert referrer_of("https://www.sho.rt/", {"www.sho.rt"}) == ""
    assert referrer_of("https://sho.rt/", {"www.sho.rt"}) == "sho.rt"


@pytest.mark.limit("visitor.REFERRER_CHARACTERS_MAX")
@pytest.mark.box("visitor.referrer")
def test_a_host_that_is_too_long_is_no_referrer():
    longest = "a." * (REFERRER_CHARACTERS_MAX // 2 - 1) + "aa"
    assert referrer_of(f"https://{longest}/", OWN) == longest
    assert referrer_of(f"https://{longest}a/", OWN) == ""


@pytest.mark.limit("visitor.REFERER_CHARACTERS_MAX")
def test_a_referer_is_read_up_to_its_longest():
    room = REFERER_CHARACTERS_MAX - len("https://:@example.com")
    assert referrer_of(f"https://:{'p' * room}@example.com", OWN) == "example.com"
    assert referrer_of(f"https://:{'p' * (room + 1)}@example.com/", OWN) == "example.co"


def test_there_are_249_countries():
    assert len(COUNTRIES) == 249
    assert all(len(code) == 2 and code.isalpha() and code.isupper() for code in COUNTRIES)
