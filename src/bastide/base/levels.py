"""How far each system has come: levels.json, written by `bastide quality --write`, never by hand.

unrated  ->  bronze, it stands  ->  silver, it holds       what each asks for: tools/quality.py
"""

import pkgutil
from collections.abc import Mapping
from functools import cache

import msgspec

UNRATED = "unrated"
FILE = "levels.json"


class Rating(msgspec.Struct, frozen=True, kw_only=True):
    """`missed` says for each check that is not passed what to do; `exempt`, for each that can't
    apply, why.
    """

    level: str
    missed: Mapping[str, str] = {}
    exempt: Mapping[str, str] = {}


def level_of(system: str) -> str:
    rating = ratings().get(system)
    return rating.level if rating else UNRATED


@cache
def ratings() -> Mapping[str, Rating]:
    """By system, as they were computed last."""
    text = pkgutil.get_data("bastide.base", FILE) or b"{}"
    return msgspec.json.decode(text, type=dict[str, Rating])
