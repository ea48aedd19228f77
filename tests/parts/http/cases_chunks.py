"""Chunks and what stands around them: sizes, extensions, line ends, trailers (RFC 9112, 7.1)."""

from tests.parts.http.corpus import (
    Answer,
    Drip,
    Fate,
    Group,
    Leave,
    answer,
    chunked,
    posted,
    request,
    smuggled,
    status,
)

END = b"0\r\n\r\n"
TOO_LARGE = (400, 413, 431)
LARGE_OR_LATE = (*TOO_LARGE, 408)  # for who waits for the chunk that is announced

chunks = Group("chunks", "RFC 9112 7.1")
extensions = Group("extensions", "RFC 9112 7.1.1")
trailers = Group("trailers", "RFC 9112 7.1.2")

_INSIDE = smuggled("chunks.good-request-inside")
for _name, _body, _seen in (
    ("none", END, ""),
    ("one", b"3\r\nabc\r\n" + END, "abc"),
    ("two", b"3\r\nabc\r\n2\r\nde\r\n" + END, "abcde"),
    ("byte-by-byte", b"".join(b"1\r\n%c\r\n" % c for c in b"abcdef") + END, "abcdef"),
    ("hex-lower", b"a\r\n0123456789\r\n" + END, "0123456789"),
    ("hex-upper", b"A\r\n0123456789\r\n" + END, "0123456789"),
    ("leading-zeros", b"0003\r\nabc\r\n" + END, "abc"),
    ("last-of-zeros", b"3\r\nabc\r\n0000\r\n\r\n", "abc"),
    ("line-ends-inside", b"4\r\n\r\n\r\n\r\n" + END, "\r\n\r\n"),
    ("end-inside", b"5\r\n0\r\n\r\n\r\n" + END, "0\r\n\r\n"),
    ("request-inside", b"%x\r\n%s\r\n" % (len(_INSIDE), _INSIDE) + END, None),
):
    chunks.answered(f"good-{_name}", chunked(_body), answers=posted(_seen))
chunks.answered(
    "good-zeros-many",
    chunked(b"0" * 40 + b"3\r\nabc\r\n" + END),
    answers=status(200, 400),
    then=Fate.EITHER,
)

BAD_SIZES = {
    "minus": b"-3",
    "minus-zero": b"-0",
    "plus": b"+3",
    "0x": b"0x3",
    "0X": b"0X3",
    "hex-suffix": b"3h",
    "underscore": b"0_3",
    "point": b"3.0",
    "comma": b"3,",
    "quoted": b'"3"',
    "space-before": b" 3",
    "tab-before": b"\t3",
    "space-behind": b"3 ",
    "tab-behind": b"3\t",
    "space-inside": b"0 3",
    "vt-before": b"\x0b3",
    "vt-behind": b"3\x0b",
    "ff-behind": b"3\x0c",
    "nul-before": b"\x003",
    "nul-behind": b"3\x00",
    "us-behind": b"3\x1f",
    "del-behind": b"3\x7f",
    "nel-behind": b"3\x85",
    "nbsp-behind": b"3\xa0",
    "no-hex": b"g",
    "no-hex-behind": b"3g",
    "wide-digit": "\uff13".encode(),
    "superscript": b"\xb3",
    "empty": b"",
    "word": b"three",
    "percent": b"%33",
    "colon": b"3:",
    "equals": b"3=",
    "backslash": b"3\\",
    "cr-before": b"\r3",
    "lf-before": b"\n3",
    "line-end-before": b"\r\n3",
}
for _name, _size in BAD_SIZES.items():
    chunks.refused(f"size-{_name}", chunked(_size + b"\r\nabc\r\n" + END))
for _name, _size in {
    "2-31": b"80000000",
    "2-32": b"100000000",
    "2-32-wraps": b"100000003",
    "2-63": b"8000000000000000",
    "2-64-less-one": b"ffffffffffffffff",
    "2-64-less-two": b"fffffffffffffffe",
    "2-64-wraps": b"10000000000000003",
    "2-64-wraps-to-zero": b"10000000000000000",
    "2-128-wraps": b"1" + b"0" * 31 + b"3",
    "thousand-digits": b"f" * 1000,
}.items():
    chunks.refused(
        f"overflow-{_name}", chunked(_size + b"\r\nabc\r\n" + END), statuses=LARGE_OR_LATE
    )
chunks.refused(
    "size-line-over-long",
    chunked(b"0" * (1 << 20) + b"3\r\nabc\r\n" + END),
    statuses=TOO_LARGE,
    leave=Leave.FULL,
)

LINE_ENDS = {
    "lf-behind-size": b"3\nabc\r\n0\r\n\r\n",
    "cr-behind-size": b"3\rabc\r\n0\r\n\r\n",
    "cr-cr-lf-behind-size": b"3\r\r\nabc\r\n0\r\n\r\n",
    "lf-cr-behind-size": b"3\n\rabc\r\n0\r\n\r\n",
    "lf-behind-chunk": b"3\r\nabc\n0\r\n\r\n",
    "cr-behind-chunk": b"3\r\nabc\r0\r\n\r\n",
    "nothing-behind-chunk": b"3\r\nabc0\r\n\r\n",
    "two-line-ends-behind-chunk": b"3\r\nabc\r\n\r\n0\r\n\r\n",
    "space-behind-chunk": b"3\r\nabc \r\n0\r\n\r\n",
    "two-bytes-behind-chunk": b"3\r\nabcXX0\r\n\r\n",
    "cr-x-behind-chunk": b"3\r\nabc\rX0\r\n\r\n",
    "x-lf-behind-chunk": b"3\r\nabcX\n0\r\n\r\n",
    "lf-behind-last": b"3\r\nabc\r\n0\n\r\n",
    "cr-behind-last": b"3\r\nabc\r\n0\r\r\n",
    "lf-at-end": b"3\r\nabc\r\n0\r\n\n",
    "lf-lf-at-end": b"3\r\nabc\r\n0\n\n",
    "cr-at-end": b"3\r\nabc\r\n0\r\n\r",
    "cr-x-at-end": b"3\r\nabc\r\n0\r\n\rX",
    "end-missing": b"3\r\nabc\r\n0\r\n",
    "last-missing": b"3\r\nabc\r\n",
    "last-two-bytes-instead": b"3\r\nabc\r\n0\r\nXX",
    "chunk-longer": b"3\r\nabcde\r\n0\r\n\r\n",
    "chunk-shorter": b"8\r\nabc\r\n0\r\n\r\n",
    "no-chunks": b"abc",
}
for _name, _body in LINE_ENDS.items():
    chunks.refused(_name, chunked(_body))
chunks.refused("garbage-behind", chunked(END + b"@@@"), after=posted())
chunks.refused(
    "line-end-and-garbage-behind", chunked(END + b"\r\n@@@"), after=posted(), rfc="RFC 9112 2.2"
)

for _name, _extension in {
    "name": b";a",
    "value": b";a=b",
    "two": b";a=b;c=d",
    "quoted": b';a="b c"',
    "quoted-escape": b';a="b\\"c"',
    "quoted-semicolon": b';a="b;c"',
    "quoted-empty": b';a=""',
}.items():
    extensions.answered(
        f"good-{_name}",
        chunked(b"3" + _extension + b"\r\nabc\r\n" + END),
        answers=posted("abc"),
    )
extensions.answered("good-on-last", chunked(b"3\r\nabc\r\n0;a=b\r\n\r\n"), answers=posted("abc"))
for _name, _extension in {  # BWS is bad, but to be read; and what is ignored need not be whole
    "equals-without-name": b";=b",
    "empty-then-name": b";;a",
    "value-missing": b";a=",
    "spaces": b" ; a = b",
    "space-before": b" ;a=b",
    "tab-behind": b";\ta=b",
    "obs-text": b';a="\xe9"',
}.items():
    extensions.answered(
        f"lenient-{_name}",
        chunked(b"3" + _extension + b"\r\nabc\r\n" + END),
        answers=status(200, 400),
        then=Fate.EITHER,
    )
for _name, _extension in {
    "lf": b";\n",
    "lf-behind-name": b";a\n",
    "lf-inside": b";a\nb",
    "lf-in-quotes": b';a="\n"',
    "lf-and-size": b";\n3",
    "cr": b";\r",
    "cr-inside": b";a\rb",
    "cr-in-quotes": b';a="\r"',
    "line-end-in-quotes": b';a="\r\n"',
    "nul": b";a\x00",
    "nul-in-quotes": b';a="\x00"',
    "bell-in-quotes": b';a="\x07"',
    "del": b";a=\x7f",
    "quote-open": b';a="b',
    "quote-in-name": b';"a"=b',
    "quote-and-more": b';a="b"c',
    "space-in-name": b";a b",
    "two-equals": b";a=b=c",
    "obs-text": b";a=\xe9",
    "comma": b",a=b",
    "no-semicolon": b"a=b",
}.items():
    extensions.refused(_name, chunked(b"3" + _extension + b"\r\nabc\r\n" + END))
for _name, _extension in {
    "empty": b";",
    "empty-twice": b";;",
}.items():
    extensions.refused(_name, chunked(b"3" + _extension + b"\r\nabc\r\n" + END))
for _name, _first in {"size": b"3", "last": b"0"}.items():
    _rest = b"\r\nabc\r\n" + END if _first == b"3" else b"\r\n\r\n"
    extensions.refused(
        f"large-on-{_name}",
        chunked(_first + b";a=" + b"b" * (1 << 20) + _rest),
        statuses=TOO_LARGE,
        leave=Leave.FULL,
    )
    extensions.refused(
        f"endless-on-{_name}",
        chunked(_first + b";a="),
        Drip(b"b" * 4096, 4096),
        statuses=TOO_LARGE,
        leave=Leave.FULL,
    )
extensions.refused(
    "on-every-chunk",
    chunked(b""),
    Drip(b"1;a=" + b"b" * 1024 + b"\r\nx\r\n", 8192),
    statuses=TOO_LARGE,
    leave=Leave.FULL,
)

for _name, _lines in {
    "one": b"X-Sum: 900150983cd24fb0\r\n",
    "two": b"X-Sum: 900150983cd24fb0\r\nX-Time: 3\r\n",
    "empty-value": b"X-Sum:\r\n",
    "obs-text": b"X-Sum: \xe9\r\n",
    "host": b"Host: smuggled.example\r\n",
    "authorization": b"Authorization: Bearer smuggled\r\n",
    "cookie": b"Cookie: session=smuggled\r\n",
    "content-type": b"Content-Type: text/html\r\n",
    "content-encoding": b"Content-Encoding: gzip\r\n",
    "expect": b"Expect: 100-continue\r\n",
    "forwarded-for": b"X-Forwarded-For: 127.0.0.1\r\n",
    "override": b"X-HTTP-Method-Override: DELETE\r\n",
}.items():
    trailers.answered(
        f"dropped-{_name}",
        chunked(b"3\r\nabc\r\n0\r\n" + _lines + b"\r\n"),
        answers=posted("abc"),
        rfc="RFC 9110 6.5.1",
    )
for _name, _lines in {  # dropped or refused, and never believed
    "length": b"Content-Length: 50\r\n",
    "length-zero": b"Content-Length: 0\r\n",
    "connection": b"Connection: close\r\n",
    "coding": b"Transfer-Encoding: chunked\r\n",
    "coding-x": b"Transfer-Encoding: x\r\n",
    "upgrade": b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
}.items():
    trailers.answered(
        f"framing-{_name}",
        chunked(b"3\r\nabc\r\n0\r\n" + _lines + b"\r\n"),
        answers=[Answer(frozenset({200, 400}), answer(method="POST", body="abc").seen)],
        then=Fate.EITHER,
        rfc="RFC 9110 6.5.1",
    )
for _name, _lines in {
    "no-colon": b"X-Sum\r\n",
    "no-name": b": y\r\n",
    "space-behind-name": b"X-Sum : y\r\n",
    "folded": b"X-Sum: y\r\n z\r\n",
    "space-before": b" X-Sum: y\r\n",
    "lf": b"X-Sum: y\n",
    "cr": b"X-Sum: y\rX-Time: 3\r\n",
    "nul-in-value": b"X-Sum: \x00\r\n",
    "bell-in-value": b"X-Sum: \x07\r\n",
    "nul-in-name": b"X\x00Sum: y\r\n",
    "obs-text-in-name": b"X-S\xfcm: y\r\n",
    "request": b"GET / HTTP/1.1\r\nHost: a.example\r\n",
}.items():
    trailers.refused(
        _name,
        chunked(b"3\r\nabc\r\n0\r\n" + _lines + b"\r\n"),
        rfc="RFC 9112 5",
        leave=Leave.FULL if _name in ("folded", "lf", "bell-in-value") else Leave.NONE,
    )
trailers.refused(
    "bytes-over",
    chunked(b"0\r\nX-Sum: " + b"y" * (1 << 20) + b"\r\n\r\n"),
    statuses=TOO_LARGE,
    leave=Leave.FULL,
)
trailers.refused(
    "count-over",
    chunked(b"0\r\n" + b"X: y\r\n" * (1 << 18) + b"\r\n"),
    statuses=TOO_LARGE,
    leave=Leave.FULL,
)
for _name, _piece in {"lines": b"X-Sum: y\r\n" * 100, "line": b"y" * 1000}.items():
    trailers.refused(
        f"endless-{_name}",
        chunked(b"0\r\nX-Sum: y" + (b"\r\n" if _name == "lines" else b"")),
        Drip(_piece, 16_384),
        statuses=TOO_LARGE,
        leave=Leave.FULL,
    )
trailers.refused(
    "behind-a-length",
    request(b"/ok", b"Content-Length: 0", method=b"POST", body=b"X-Sum: y\r\n\r\n"),
    after=status(200),
    rfc="RFC 9112 6.2",
)
GROUPS = (chunks, extensions, trailers)
