"""Numbers as short words, in base 36, 62 or 64.

    125 = 2 * 62 + 1   ->  "21"          62**7 = 3.5e12 codes of seven characters

The alphabet of base 62 is in the order of ASCII, so words of one width sort as their numbers do.
That of base 64 is the URL-safe one (RFC 4648, section 5) used as digits: no padding, nothing to
escape. O(digits).
"""

from bastide.engines.ids.contract import NotAnId

DIGITS = "0123456789"
LOWER = "abcdefghijklmnopqrstuvwxyz"
UPPER = LOWER.upper()

BASE36 = DIGITS + LOWER
BASE62 = DIGITS + UPPER + LOWER
BASE64URL = UPPER + LOWER + DIGITS + "-_"

DIGITS_MAX = 64  # of a word to decode: Python's integers would take any number of them

_values = {
    alphabet: {digit: value for value, digit in enumerate(alphabet)}
    for alphabet in (BASE36, BASE62, BASE64URL)
}


def encode(number: int, alphabet: str, *, width: int = 1) -> str:
    """`number`, filled up to `width` with the alphabet's zero."""
    assert number >= 0, number
    base, digits = len(alphabet), []
    while number:
        number, digit = divmod(number, base)
        digits.append(alphabet[digit])
    return "".join(reversed(digits)).rjust(width, alphabet[0])


def decode(text: str, alphabet: str) -> int:
    """
    Raises:
        NotAnId: no digits, over DIGITS_MAX of them, or one that the alphabet has not.
    """
    if not 1 <= len(text) <= DIGITS_MAX:
        raise NotAnId(f"{len(text)} characters; 1 to {DIGITS_MAX} are read")
    values, number = _values[alphabet], 0
    for digit in text:
        value = values.get(digit)
        if value is None:
            raise NotAnId(f"{digit!r} in {text!r} is none of {alphabet}")
        number = number * len(alphabet) + value
    return number
