"""Points in time as text, without a clock: milliseconds since 1970, UTC, and RFC 3339.

Idea (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms"): let a year begin in March. Then
the day that comes and goes is the last of its year, the months' lengths repeat every five, and the
number of a day is arithmetic, without a table or a loop; 400 years always have 146,097 days.

    Mar Apr May Jun Jul | Aug Sep Oct Nov Dec | Jan Feb       days before month m, counted from
    31  30  31  30  31  | 31  30  31  30  31  | 31  28/29     March: (153 m + 2) // 5
"""

import re

DAY_MS = 24 * 3600 * 1000

_ERA_DAYS = 146_097
_DAYS_TO_1970 = 719_468  # from 1 March of the year 0
_INSTANT = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?"
    r" ?([Zz]|(?:UTC)|([+-])([0-9]{2})(?::?([0-9]{2}))?)?)?"
)


def instant_of(text: str) -> int | None:
    """The milliseconds of an ISO 8601 date, with or without a time; None if it is none.

    A blank may stand for the T, as databases write it; without an offset it is UTC.
    """
    match = _INSTANT.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    if not 1 <= month <= 12 or not 1 <= day <= _month_days(year, month):
        return None
    if hour > 23 or minute > 59 or second > 59:
        return None
    days = days_of(year, month, day)
    sign, hours, minutes = match.groups()[8:]
    offset = (int(hours or 0) * 60 + int(minutes or 0)) * (-1 if sign == "-" else 1)
    ms = int((match[7] or "0")[:3].ljust(3, "0"))
    return days * DAY_MS + ((hour * 60 + minute - offset) * 60 + second) * 1000 + ms


def text_of(at_ms: int) -> str:
    """As in RFC 3339: 2026-11-21T10:00:00Z, with milliseconds if there are any."""
    days, rest = divmod(at_ms, DAY_MS)
    seconds, ms = divmod(rest, 1000)
    year, month, day = civil_of(days)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{year:04}-{month:02}-{day:02}T{clock}{f'.{ms:03}' if ms else ''}Z"


def _month_days(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def days_of(year: int, month: int, day: int) -> int:
    """From 1 January 1970 to that day."""
    era, year_of_era = divmod(year - (month <= 2), 400)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return era * _ERA_DAYS + day_of_era - _DAYS_TO_1970


def civil_of(days: int) -> tuple[int, int, int]:
    """Year, month and day of the day so many after 1 January 1970."""
    era, day_of_era = divmod(days + _DAYS_TO_1970, _ERA_DAYS)
    leaps = day_of_era // 1460 - day_of_era // 36_524 + day_of_era // (_ERA_DAYS - 1)
    year_of_era = (day_of_era - leaps) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_from_march = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month_from_march + 2) // 5 + 1
    month = month_from_march + 3 if month_from_march < 10 else month_from_march - 9
    return era * 400 + year_of_era + (month <= 2), month, day
