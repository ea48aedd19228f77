"""Dates as HTTP writes them (RFC 9110, 5.6.7), from and to seconds since 1970.

    Sun, 06 Nov 1994 08:49:37 GMT    IMF-fixdate: the one that is sent
    Sunday, 06-Nov-94 08:49:37 GMT   RFC 850, obsolete
    Sun Nov  6 08:49:37 1994         asctime, obsolete

"A recipient that parses a timestamp value in an HTTP field MUST accept all three HTTP-date
formats." They are in UTC, and case-sensitive. The name of the day tells nothing new: it must be
one, and is not held against the date.

Days are counted as in `base.instants`.

Cost: two microseconds or so each way. Nothing knows the locale.
"""

import re
from functools import lru_cache

from bastide.base.instants import civil_of, days_of

FIRST_S = -62_167_219_200  # Sat, 01 Jan 0000 00:00:00 GMT
LAST_S = 253_402_300_799  # Fri, 31 Dec 9999 23:59:59 GMT

REMEMBERED = 1_024  # files that are asked for again, and this very second

_DAY_S = 86_400

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
_NUMBERS = {name: number for number, name in enumerate(_MONTHS, start=1)}
_LENGTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

_DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_WHOLE_DAY = "(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)"
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_YEAR = "(?P<year>[0-9]{4})"
_TIME = "(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_FIXDATE = re.compile(f"{_DAY}, (?P<day>[0-9]{{2}}) {_MONTH} {_YEAR} {_TIME} GMT")
_RFC850 = re.compile(f"{_WHOLE_DAY}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT")
_ASCTIME = re.compile(f"{_DAY} {_MONTH} (?P<day>[0-9]{{2}}| [0-9]) {_TIME} {_YEAR}")


@lru_cache(REMEMBERED)
def http_date(epoch_s: int) -> str:
    """As IMF-fixdate: "the sender MUST generate those timestamps in the IMF-fixdate format"."""
    assert FIRST_S <= epoch_s <= LAST_S, f"{epoch_s} s is outside the years 0 to 9999"
    days, second = divmod(epoch_s, _DAY_S)
    year, month, day = civil_of(days)
    minute, second = divmod(second, 60)
    return (
        f"{_DAYS[(days + 3) % 7]}, {day:02} {_MONTHS[month - 1]} {year:04} "
        f"{minute // 60:02}:{minute % 60:02}:{second:02} GMT"
    )


def epoch_of(text: str, *, now_s: int) -> int | None:
    """Of any of the three formats; None for what is no such date. `now_s` gives a year of two
    digits its century. A leap second is the first one of the day after it.
    """
    match = _FIXDATE.fullmatch(text) or _ASCTIME.fullmatch(text)
    if match is not None:
        return _epoch(match, int(match["year"]))
    match = _RFC850.fullmatch(text)
    return _epoch(match, _whole_year(match, now_s)) if match else None


def _whole_year(match: re.Match[str], now_s: int) -> int:
    """A recipient "MUST interpret a timestamp that appears to be more than 50 years in the future
    as representing the most recent year in the past that had the same last two digits".
    """
    days, second = divmod(now_s, _DAY_S)
    year, month, day = civil_of(days)
    year += 50
    found = year - (year - int(match["year"])) % 100
    if found == year and (*_month_and_day(match), _second_of_day(match)) > (month, day, second):
        found -= 100
    return found


def _epoch(match: re.Match[str], year: int) -> int | None:
    month, day = _month_and_day(match)
    second = _second_of_day(match)
    if second < 0 or not 1 <= day <= _LENGTHS[month - 1]:
        return None
    if (month, day) == (2, 29) and (year % 4 or (year % 100 == 0 and year % 400)):
        return None
    return days_of(year, month, day) * _DAY_S + second


def _month_and_day(match: re.Match[str]) -> tuple[int, int]:
    return _NUMBERS[match["month"]], int(match["day"])


def _second_of_day(match: re.Match[str]) -> int:
    """From 00:00:00 to 23:59:60; -1 for what is no time of a day."""
    hour, minute, second = int(match["hour"]), int(match["minute"]), int(match["second"])
    if hour > 23 or minute > 59 or (second > 59 and (hour, minute, second) != (23, 59, 60)):
        return -1
    return (hour * 60 + minute) * 60 + second
