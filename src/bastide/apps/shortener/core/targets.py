"""Long addresses, read in one strict way, so that no browser reads them in another.

Filters are walked around where two programs read one text differently (Orange Tsai, "A New Era of
SSRF", Black Hat 2017). So what is read in two ways is refused, and what is left is rewritten, so
that what we judged is what a browser opens:

    HTTPS :// somebody@ Bücher。example. :443  /a b?q=ü#f          given
    scheme    refused   host             port   rest
    https ://           xn--bcher-kva.example   /a%20b?q=%C3%BC#f  `url`, where we redirect to
                                               '/' if it is empty  for `hash`, equal if they are

refused      controls and CR/LF anywhere (header injection), backslash (browsers read it as /),
             user:password@ (the host looks like another), % or blanks in the host
host         UTS 46 and IDNA 2008: a homograph is kept and shown as its xn-- form, so it shows
             itself; IPv4 in every spelling of inet_aton, since browsers take 0x7f.1 for 127.0.0.1
ourselves    a link to us is a loop, or hides one: compared by place (host and port), where all
             names of this machine (localhost, 127.0.0.0/8, ::1, 0.0.0.0) are one host

Differs from the WHATWG URL standard, which repairs where we refuse; `..` in paths is left as it is.
"""

import ipaddress
import re
from collections.abc import Collection
from hashlib import blake2b
from urllib.parse import quote

import idna
import msgspec

from bastide.apps.shortener.contract import TARGET_CHARACTERS_MAX, TargetRefused

PORTS = {"http": 80, "https": 443}
THIS_MACHINE = "this machine"

_HIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\\]")
_SHAPE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?([^/?#]*)(.*)")
_AUTHORITY = re.compile(r"(\[[^\]@%]*\]|[^\[\]:@%\s]+)(?::(\d{0,5}))?")
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_ESCAPE = re.compile(r"%[0-9a-fA-F]{2}")
_KEPT = "%!$&'()*+,-./:;=?@_~#[]"  # stand for themselves behind the host

Place = tuple[str, int]


class Target(msgspec.Struct, frozen=True):
    """A long address that was read. `place` is where it leads: host and port; `hash` is equal for
    addresses that mean the same (128 bits, so that it may stand for them).
    """

    url: str
    place: Place
    hash: str


def parse(text: str) -> Target:
    """
    Raises:
        TargetRefused: it is too long, no http or https address, or can be read in two ways.
    """
    _refuse_longer(text)
    if found := _HIDDEN.search(text):
        raise TargetRefused(f"an address has no {found.group()!r} in it; write it as %XX")
    scheme, authority, rest = _split(text.strip(" "))
    host, port = _host_and_port(authority)
    port = port or PORTS[scheme]
    shown_port = "" if port == PORTS[scheme] else f":{port}"
    front, rest = f"{scheme}://{host}{shown_port}", quote(rest, safe=_KEPT)
    _refuse_longer(front + rest)
    digest = blake2b((front + _normal(rest)).encode(), digest_size=16).hexdigest()
    return Target(front + rest, (_machine(host), port), digest)


def refuse_own(target: Target, own: Collection[Place]) -> None:
    """
    Raises:
        TargetRefused: it leads back to one of our `own` places.
    """
    if target.place in own:
        raise TargetRefused("the address leads back to this shortener: that would be a loop")


def places_of(address: str) -> Collection[Place]:
    """Where `address` of ours can be reached: one on a default port is on both of them."""
    host, port = parse(address).place
    return {(host, p) for p in ({80, 443} if port in (80, 443) else {port})}


def _refuse_longer(text: str) -> None:
    if len(text) > TARGET_CHARACTERS_MAX:
        raise TargetRefused(
            f"an address of {len(text)} characters; at most {TARGET_CHARACTERS_MAX} are taken"
        )


def _split(text: str) -> tuple[str, str, str]:
    match = _SHAPE.fullmatch(text)
    scheme = match.group(1).lower() if match else ""
    if match is None or scheme not in PORTS or not match.group(2):
        raise TargetRefused("an address begins with http:// or https://")
    return scheme, match.group(3), match.group(4)


def _host_and_port(authority: str) -> tuple[str, int]:
    if "@" in authority:
        raise TargetRefused("an address with a user or password in it is not taken")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise TargetRefused(f"{authority[:100]!r} is no host and port")
    port = int(match.group(2) or 0)
    if port > 65_535 or (match.group(2) and port == 0):
        raise TargetRefused(f"there is no port {match.group(2)}")
    return _host(match.group(1)), port


def _host(text: str) -> str:
    if text.startswith("["):
        return f"[{_ipv6(text[1:-1])}]"
    name = (text if text.isascii() else _punycode(text)).lower().removesuffix(".")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        return str(_ipv4(name))
    if not _NAME.fullmatch(name):
        raise TargetRefused(f"{text[:100]!r} is no host name")
    return name


def _punycode(text: str) -> str:
    try:
        return idna.encode(text, uts46=True).decode()
    except idna.IDNAError as error:
        raise TargetRefused(f"{text[:100]!r} is no host name: {error}") from error


def _ipv6(text: str) -> ipaddress.IPv6Address:
    try:
        return ipaddress.IPv6Address(text)
    except ValueError as error:
        raise TargetRefused(f"{text[:100]!r} is no IPv6 address") from error


def _ipv4(text: str) -> ipaddress.IPv4Address:
    """As inet_aton: one to four numbers, decimal, octal or hexadecimal; the last one fills up."""
    *front, last = text.split(".")
    try:
        value = _number(last)
        if len(front) > 3 or value >= 256 ** (4 - len(front)):
            raise ValueError(text)
        for place, part in enumerate(front):
            value += int.from_bytes([_number(part)]) << (8 * (3 - place))
        return ipaddress.IPv4Address(value)
    except ValueError as error:
        raise TargetRefused(f"{text[:100]!r} is no IPv4 address") from error


def _number(text: str) -> int:
    if text.startswith("0x"):
        return int(text[2:] or "0", 16)
    return int(text, 8 if len(text) > 1 and text.startswith("0") else 10)


def _normal(rest: str) -> str:
    """Equal for what RFC 3986, section 6.2.2 calls equal, but for `..`; fragments don't matter."""
    rest = _ESCAPE.sub(lambda match: match.group().upper(), rest)
    return rest if rest.startswith("/") else f"/{rest}"


def _machine(host: str) -> str:
    """`host`, or THIS_MACHINE for every name that it has for itself."""
    if host == "localhost" or host.endswith(".localhost"):
        return THIS_MACHINE
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host
    address = getattr(address, "ipv4_mapped", None) or address
    return THIS_MACHINE if address.is_loopback or address.is_unspecified else str(address)
