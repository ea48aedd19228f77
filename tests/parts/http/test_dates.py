"""Dates: RFC 9110, section 5.6.7, and the standard library's own reading of them."""

from calendar import month_abbr
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bastide.parts.http.core.dates import FIRST_S, LAST_S, epoch_of, http_date

EXAMPLE_S = 784_111_777  # Sun, 06 Nov 1994 08:49:37 GMT
NOW_S = 1_700_000_000  # Tue, 14 Nov 2023 22:13:20 GMT
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEAR_1000_S = int((datetime(1000, 1, 1, tzinfo=UTC) - EPOCH).total_seconds())

whole = st.integers(FIRST_S, LAST_S)
known = st.integers(YEAR_1000_S, LAST_S)  # years that the standard library doesn't guess at


def at(epoch_s):
    return EPOCH + timedelta(seconds=epoch_s)


def read(text, now_s=NOW_S):
    return epoch_of(text, now_s=now_s)


def rfc850(moment):
    return moment.strftime("%A, %d-%b-%y %H:%M:%S GMT")


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    ],
)
def test_the_three_formats_of_the_rfc_are_one_moment(text):
    assert read(text) == EXAMPLE_S


@given(whole)
@example(FIRST_S)
@example(LAST_S)
@example(-1)
def test_a_date_comes_back_as_it_went(epoch_s):
    assert read(http_date(epoch_s)) == epoch_s


@given(known)
@example(951_782_400)  # 29 February 2000
def test_a_date_is_written_as_the_standard_library_writes_it(epoch_s):
    assert http_date(epoch_s) == format_datetime(at(epoch_s), usegmt=True)


@given(known)
def test_a_date_is_read_as_the_standard_library_reads_it(epoch_s):
    moment = at(epoch_s)
    fixdate = format_datetime(moment, usegmt=True)
    assert read(fixdate) == (parsedate_to_datetime(fixdate) - EPOCH).total_seconds()
    asctime = moment.strftime(f"%a %b {moment.day:2} %H:%M:%S {moment.year:04}")
    assert read(asctime) == epoch_s


def test_a_date_outside_of_the_years_0_to_9999_is_not_written():
    assert http_date(FIRST_S) == "Sat, 01 Jan 0000 00:00:00 GMT"
    assert http_date(LAST_S) == "Fri, 31 Dec 9999 23:59:59 GMT"
    for beyond_s in (FIRST_S - 1, LAST_S + 1):
        with pytest.raises(AssertionError):
            http_date(beyond_s)


@given(st.integers(0, NOW_S * 3), st.integers(-49 * 365, 49 * 365))
def test_a_year_of_two_digits_is_within_50_years(now_s, away_days):
    moment = at(now_s) + timedelta(days=away_days)
    assert read(rfc850(moment), now_s) == (moment - EPOCH).total_seconds()


def test_what_seems_more_than_50_years_ahead_is_a_century_ago():
    limit = datetime(2073, 11, 14, 22, 13, 20, tzinfo=UTC)
    ago = datetime(1973, 11, 14, 22, 13, 21, tzinfo=UTC)
    assert read(rfc850(limit)) == limit.timestamp()
    assert rfc850(ago) == "Wednesday, 14-Nov-73 22:13:21 GMT"
    assert read(rfc850(ago)) == ago.timestamp()


@given(st.integers(1, 12), st.integers(0, 32), st.integers(1890, 2110))
def test_a_day_that_no_calendar_has_is_no_date(month, day, year):
    name = month_abbr[month]
    try:
        expected = datetime(year, month, day, tzinfo=UTC).timestamp()
    except ValueError:
        expected = None
    assert read(f"Mon, {day:02} {name} {year} 00:00:00 GMT") == expected


@pytest.mark.parametrize(
    ("year", "leap"), [(1900, False), (2000, True), (2023, False), (2024, True), (2100, False)]
)
def test_29_february_is_a_date_in_leap_years(year, leap):
    assert (read(f"Tue, 29 Feb {year} 00:00:00 GMT") is not None) == leap


def test_a_leap_second_is_the_first_of_the_next_day():
    """5.6.7: "00:00:00 - 23:59:60 (leap second)"."""
    midnight = read("Sun, 01 Jan 2017 00:00:00 GMT")
    assert read("Sat, 31 Dec 2016 23:59:60 GMT") == midnight


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "784111777",
        "sun, 06 nov 1994 08:49:37 gmt",  # "HTTP-date is case sensitive"
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun,  06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 06 Nov 1994 08:49:37 GMT\n",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:00 GMT",
        "Sun, 06 Nov 1994 08:49:60 GMT",
        "Sun, 06 Nov 1994 23:59:61 GMT",
        "Sun, \u0660\u0666 Nov 1994 08:49:37 GMT",
        "Sun, ¹² Nov 1994 08:49:37 GMT",
        "Xyz, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06-Nov-94 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sunday, 29-Feb-74 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov 06 08:49:37 1994 GMT",
    ],
)
def test_what_is_no_date_is_none(text):
    assert read(text) is None


def test_a_day_of_one_digit_may_have_a_zero_in_asctime():
    """5.6.7: date3 = month SP ( 2DIGIT / ( SP 1DIGIT ))."""
    assert read("Sun Nov 06 08:49:37 1994") == EXAMPLE_S


@given(st.text(max_size=40))
def test_any_text_is_read_without_an_error(text):
    assert read(text) is None


@given(st.integers(0, 28), st.characters(max_codepoint=0x17F))
def test_a_date_with_one_character_changed_is_another_date_or_none(place, character):
    text = http_date(EXAMPLE_S)
    changed = text[:place] + character + text[place + 1 :]
    found = read(changed)
    if found is not None:  # the name of the day is not held against the date
        assert http_date(found)[4:] == changed[4:]
