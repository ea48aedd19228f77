"""Content codings (RFC 9110, 8.4 and 12.5.3): whether a reply is compressed, and how.

    Accept-Encoding: gzip;q=1.0, identity; q=0.5, *;q=0
                     │           │                └─ none but those named
                     │           └─ as it is, if need be
                     └─ best

Rules of 12.5.3: a coding that is listed is acceptable "unless it is accompanied by a qvalue of 0";
"*" is any that is not listed; no coding at all ("identity") is acceptable unless it is excluded by
name, or by "*;q=0". Of the acceptable, the highest weight wins. Ours:

 - Equal weights: the first that is offered, and any coding rather than none.
 - No header: as it is. "Any content coding is considered acceptable", but who doesn't say what it
   reads is a tool that may read none.
 - A header that is malformed or too long: as it is.
 - Nothing acceptable (`identity;q=0` alone): as it is, for a server may "disregard the header field
   by treating the response as if it is not subject to content negotiation" (12.4.1).

Browsers send a handful of values, so what they mean is remembered: half a microsecond a request,
ten times that if it is new. The remembered are few and short, whatever is sent.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from bastide.base.routes.fields import OWS, TOKEN, listed

ACCEPT_ENCODING_CHARACTERS_MAX = 256
CODINGS_MAX = 32  # of one header
REMEMBERED = 256

_CODING = re.compile(
    rf"(?P<name>{TOKEN})(?:{OWS};{OWS}[qQ]=(?P<weight>0(?:\.[0-9]{{0,3}})?|1(?:\.0{{0,3}})?))?"
)
_SAME = {"x-gzip": "gzip"}  # 8.4.1.3

_COMPRESSIBLE = frozenset(
    (
        *("application/javascript", "application/json", "application/wasm", "application/xml"),
        *("application/x-javascript", "image/svg+xml"),
    )
)
_INCOMPRESSIBLE = frozenset(("text/event-stream",))  # each event must leave at once


def chosen(header: str | None, offered: Sequence[str]) -> str | None:
    """Which of `offered`, in our order of preference and in lower case, an Accept-Encoding takes;
    None for no coding.
    """
    if not header or not offered or len(header) > ACCEPT_ENCODING_CHARACTERS_MAX:
        return None
    weights = _weights(header)
    others = weights.get("*", 0.0)
    best, weight = None, 0.0
    for coding in offered:
        if (own := weights.get(coding, others)) > weight:
            best, weight = coding, own
    return best if weight >= weights.get("identity", others) else None


def compressible(content_type: str) -> bool:
    """Whether a body of this type gets smaller: text, and what is text inside. Images, films and
    archives are compressed already.
    """
    type_ = content_type.partition(";")[0].strip(" \t").lower()
    if type_.startswith("text/"):
        return type_ not in _INCOMPRESSIBLE
    return type_ in _COMPRESSIBLE or type_.endswith(("+json", "+xml"))


def with_vary(value: str, name: str) -> str:
    """`value` of Vary (12.5.5, "" for none) with the header `name` in it: what depends on a header
    says so to caches, also where this time the header made no difference.
    """
    members = [member.strip(" \t") for member in value.lower().split(",")]
    if "*" in members or name.lower() in members:
        return value
    return f"{value}, {name}" if value else name


@lru_cache(REMEMBERED)
def _weights(header: str) -> Mapping[str, float]:
    """By coding. One that is named twice has the weight named last; empty if it is no list of
    codings.
    """
    codings = listed(header.lower(), _CODING, members_max=CODINGS_MAX) or ()
    return {_SAME.get(c["name"], c["name"]): float(c["weight"] or 1) for c in codings}
