"""A head that comes again.

A client says the same of itself in each request: the bytes behind its request line are those of the
request before, but for the digits of Content-Length. Comparing bytes costs a tenth of reading them,
and what is equal to bytes that were read before means what it meant then. Nothing is inferred:
whatever differs, is split or has something behind it is read as if it were the first.

    GET /b HTTP/1.1 CRLF │ Host: a CRLF ... Content-Length: │ 17 │ CRLF ... CRLF CRLF │ 17 bytes
                         └────────── before ────────────────┘    └───── after ───────┘
"""

from bastide.parts.http.core.framing import LENGTH_DIGITS_MAX

LENGTH_NAME = b"content-length"


class Repeat:
    """`fields`: all between a request line and a body, as llhttp took it. `sized`: one of them is
    Content-Length; if none is, nothing follows.
    """

    __slots__ = ("_after", "_before", "_begins", "_sized")

    def __init__(self, fields: bytes, *, sized: bool) -> None:
        """
        Raises:
            ValueError: the place of the length is not found.
        """
        self._before, self._after = _parted(fields) if sized else (fields, b"")
        self._sized = sized
        self._begins = len(self._before)

    def body_in(self, data: bytes, at: int) -> bytes | None:
        """The body, if `data` from `at` on is these fields, a body of the length that they say, and
        nothing else; else None. b"": there is none.
        """
        if not self._sized:
            return b"" if len(data) == at + self._begins and data.endswith(self._before) else None
        if not data.startswith(self._before, at):
            return None
        begins = at + self._begins
        ends = data.find(b"\r\n", begins)
        digits = data[begins:ends]
        if (
            not digits.isdigit()
            or digits[:1] == b"0"
            or len(digits) > LENGTH_DIGITS_MAX
            or not data.startswith(self._after, ends)
        ):
            return None
        body = data[ends + len(self._after) :]
        return body if len(body) == int(digits) else None


def _parted(fields: bytes) -> tuple[bytes, bytes]:
    """Around the value of Content-Length."""
    at = 0
    for line in fields.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == LENGTH_NAME:
            ends = at + len(line)
            return fields[: ends - len(value.lstrip(b" \t"))], fields[ends:]
        at += len(line) + 2
    raise ValueError("no field is Content-Length")
