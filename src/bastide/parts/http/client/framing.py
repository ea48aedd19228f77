"""Where an answer's body ends (RFC 9112, 6.3), and whether its connection may be kept.

    1.  HEAD, 1xx, 204, 304                   no body, whatever the head says
    4.  Transfer-Encoding: chunked            the last chunk
        any other, or beside Content-Length   refused: two readers could see two ends
    6.  Content-Length                        so many bytes
    8.  neither                               the end of the connection

The RFC lets a recipient read "gzip, chunked", or a length given twice alike. We ask for no coding
of transfers, so that none is owed to us; and where two readers could differ one of them is wrong.
"""

import re
from typing import Literal

from msgspec import Struct

from bastide.parts.http.client.contract import AnswerWrong, Headers

_LENGTH = re.compile(rb"[0-9]{1,18}")


class Framing(Struct, frozen=True):
    """`length` is of `counted` bodies."""

    body: Literal["none", "counted", "chunked", "until-close"]
    length: int
    keeps: bool


def framing_of(method: str, *, status: int, version: str, headers: Headers) -> Framing:
    """
    Raises:
        AnswerWrong
    """
    if version not in ("1.1", "1.0"):
        raise AnswerWrong(f"an answer of HTTP/{version}; 1.1 was asked for", outcome="unknown")
    lengths = [value for name, value in headers if name == b"content-length"]
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    keeps = version == "1.1" and not _closes(headers)
    _check(version, lengths, codings)
    if method == "HEAD" or status < 200 or status in (204, 304):
        return Framing("none", 0, keeps)
    if codings:
        return Framing("chunked", 0, keeps)
    if lengths:
        return Framing("counted", int(lengths[0]), keeps)
    return Framing("until-close", 0, False)


def _check(version: str, lengths: list[bytes], codings: list[bytes]) -> None:
    if codings and (codings != [b"chunked"] or version == "1.0"):
        told = b", ".join(codings)[:100]
        raise AnswerWrong(f"transfer-encoding {told!r} of HTTP/{version}", outcome="unknown")
    if codings and lengths:
        raise AnswerWrong("content-length beside transfer-encoding", outcome="unknown")
    if len(lengths) > 1 or (lengths and not _LENGTH.fullmatch(lengths[0])):
        raise AnswerWrong(f"content-length {lengths[:3]}; one number", outcome="unknown")


def _closes(headers: Headers) -> bool:
    return any(
        name == b"connection" and b"close" in [token.strip() for token in value.lower().split(b",")]
        for name, value in headers
    )
