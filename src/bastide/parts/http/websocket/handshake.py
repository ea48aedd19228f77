"""The opening handshake (RFC 6455, 4.2), with permessage-deflate (RFC 7692, 7.1). Pure."""

import base64
import binascii
import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from msgspec import Struct

from bastide.parts.http.websocket.contract import (
    VERSION,
    OriginRefused,
    UpgradeWrong,
    VersionWrong,
)
from bastide.parts.http.websocket.frames import WINDOW_BITS

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES = 16
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 (RFC 9110, 5.6.2; no secret)
_TOKENS = re.compile(rf"{_TOKEN}(?:[ \t]*,[ \t]*{_TOKEN})*")
_PARAMETER = rf'({_TOKEN})(?:[ \t]*=[ \t]*(?:({_TOKEN})|"({_TOKEN})"))?'
_OFFER = rf"[ \t]*({_TOKEN})((?:[ \t]*;[ \t]*{_PARAMETER})*)[ \t]*"
_OFFERS = re.compile(rf"{_OFFER}(?:,{_OFFER})*")
_EACH_OFFER = re.compile(_OFFER)
_EACH_PARAMETER = re.compile(_PARAMETER)

_DEFLATE = "permessage-deflate"
_ALONE = "server_no_context_takeover", "client_no_context_takeover"
_BITS = {str(bits): bits for bits in range(8, 16)}  # RFC 7692, 7.1.2: no leading zeros


class Handshake(Struct, frozen=True):
    """What was agreed. `headers` are those of the reply 101."""

    headers: Mapping[str, str]
    subprotocol: str | None
    deflates: bool


def handshake(
    headers: Mapping[str, str],
    *,
    subprotocols: Sequence[str] = (),
    origins: Collection[str] = (),
) -> Handshake:
    """The answer to a GET by HTTP/1.1 with these headers: names in lower case, and what came in
    several lines joined by commas. `subprotocols` are what is spoken here, the best first.

    A browser tells the origin of the page that asks, and sends the visitor's cookies whatever it
    is: only one of this host, or one of `origins`, as "https://example.org", is let in.

    Raises:
        UpgradeWrong, VersionWrong, OriginRefused
    """
    _check_upgrade(headers)
    accept = _accept(headers.get("sec-websocket-key", ""))
    _check_origin(headers, origins)
    subprotocol = _subprotocol(headers.get("sec-websocket-protocol"), subprotocols)
    extension = _extension(headers.get("sec-websocket-extensions"))
    answer = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-accept": accept}
    if subprotocol is not None:
        answer["sec-websocket-protocol"] = subprotocol
    if extension is not None:
        answer["sec-websocket-extensions"] = extension
    return Handshake(answer, subprotocol, extension is not None)


def _check_upgrade(headers: Mapping[str, str]) -> None:
    for name, wanted in (("upgrade", "websocket"), ("connection", "upgrade")):
        tokens = [token.strip().lower() for token in headers.get(name, "").split(",")]
        if wanted not in tokens:
            told = headers.get(name, "")[:100]
            raise UpgradeWrong(f"{name}: {told!r}; a WebSocket begins with {name}: {wanted}")
    version = headers.get("sec-websocket-version", "")
    if version != VERSION:
        raise VersionWrong(f"version {version[:20]!r} of WebSocket; {VERSION} is spoken")


def _accept(key: str) -> str:
    try:
        raw = base64.b64decode(key.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raw = b""
    if len(raw) != _KEY_BYTES:
        raise UpgradeWrong(f"sec-websocket-key: {key[:40]!r}; {_KEY_BYTES} bytes in base64 are due")
    digest = hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def _check_origin(headers: Mapping[str, str], origins: Collection[str]) -> None:
    origin = headers.get("origin")
    if origin is None or origin in origins:
        return
    host = headers.get("host", "").lower()
    if not host or origin.lower().partition("://")[2] != host:
        raise OriginRefused(f"a page of {origin[:100]!r} may not open this")


def _subprotocol(offered: str | None, spoken: Sequence[str]) -> str | None:
    """The best that both speak. None if there is none: then the client decides whether to stay."""
    if offered is None:
        return None
    if not _TOKENS.fullmatch(offered.strip()):
        raise UpgradeWrong(f"sec-websocket-protocol: {offered[:100]!r}; names with commas between")
    names = [name.strip() for name in offered.split(",")]
    if len(set(names)) < len(names):  # RFC 6455, 4.1, 10
        raise UpgradeWrong(f"sec-websocket-protocol: {offered[:100]!r}; a name stands twice")
    return next((name for name in spoken if name in names), None)


def _extension(offered: str | None) -> str | None:
    """The reply to the first offer that can be taken; RFC 7692, 5.1: the others are declined."""
    if offered is None:
        return None
    if not _OFFERS.fullmatch(offered):
        raise UpgradeWrong(f"sec-websocket-extensions: {offered[:100]!r}; RFC 6455, 9.1")
    for name, parameters in ((m[1], m[2]) for m in _EACH_OFFER.finditer(offered)):
        if name.lower() == _DEFLATE:
            answer = _deflate(list(_parameters(parameters)))
            if answer is not None:
                return answer
    return None


def _parameters(text: str) -> Iterator[tuple[str, str | None]]:
    for match in _EACH_PARAMETER.finditer(text):
        yield match[1].lower(), match[2] or match[3]


def _deflate(parameters: Sequence[tuple[str, str | None]]) -> str | None:
    """The reply to one offer, or None if a parameter is unknown, wrong or there twice, or wants a
    smaller window than everybody else's frames have.
    """
    values = dict(parameters)
    if len(values) < len(parameters):
        return None
    for name, value in parameters:
        known = (
            (name in _ALONE and value is None)
            or (name == "client_max_window_bits" and (value is None or value in _BITS))
            or (name == "server_max_window_bits" and _BITS.get(value or "", 0) >= WINDOW_BITS)
        )
        if not known:
            return None
    asked = "server_max_window_bits" in values
    window = (f"server_max_window_bits={WINDOW_BITS}",) if asked else ()
    return "; ".join((_DEFLATE, *_ALONE, *window))
