r"""The words that header values are made of (RFC 9110, 5.6), read in one pass.

    token          = 1*tchar                                       5.6.2
    quoted-string  = DQUOTE *( qdtext / quoted-pair ) DQUOTE       5.6.4
    #element      => [ element ] *( OWS "," OWS [ element ] )      5.6.1.2

Idea: a list is read element by element, each where the one before it ended, by the expression of
its element. So a comma inside a quoted string ends nothing, and whoever has strings with rules of
their own brings them: in an entity tag (8.8.3) a backslash quotes nothing, "a\" is whole.

    text/html ; q="a,b" ,  , text/plain
    ╰──── element ────╯╰─┬─╯╰─element─╯
                      a gap: one comma at least; what is empty counts for nothing

Cost: linear in the value. Every repetition is possessive (`++`, `*+`), so nothing is tried twice;
and `listed` stops at `members_max`, for a request may bring 32 KiB of commas, and "not so much that
they could be used as a denial-of-service mechanism" (5.6.1.2) is for us to see to.
"""

import re
from collections.abc import Sequence

OWS = r"[ \t]*+"
TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"  # noqa: S105 (it is an expression, no secret)
QUOTED = r'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*+"'

_TOKEN = re.compile(TOKEN)
_QUOTED = re.compile(QUOTED)
_BEFORE = re.compile(r"[ \t,]*+")
_GAP = re.compile(rf"{OWS}(?:,[ \t,]*+|\Z)")


def is_token(text: str) -> bool:
    return _TOKEN.fullmatch(text) is not None


def unquoted(text: str) -> str | None:
    """What a token or a quoted string says; None for what is neither. Both forms mean the same
    (5.6.6).
    """
    if _QUOTED.fullmatch(text):
        # A run of backslashes is quoted pairs from its start; NUL stands for what they quote, since
        # it is in no quoted string.
        return text[1:-1].replace("\\\\", "\0").replace("\\", "").replace("\0", "\\")
    return text if is_token(text) else None


def listed(
    text: str, element: re.Pattern[str], *, members_max: int
) -> Sequence[re.Match[str]] | None:
    """The elements of a list, without the empty ones; None if it is no list of `element`, or has
    more than `members_max` of them. `element` matches nothing empty, and takes no white space at
    its end.
    """
    found: list[re.Match[str]] = []
    end = _end(_BEFORE, text, 0)
    while 0 <= end < len(text):
        match = element.match(text, end)
        if match is None or len(found) == members_max:
            return None
        found.append(match)
        end = _end(_GAP, text, match.end())
    return found if end >= 0 else None


def _end(expression: re.Pattern[str], text: str, at: int) -> int:
    match = expression.match(text, at)
    return match.end() if match else -1
