"""Where a line ends, and what a line may be: request line, header lines, empty lines (RFC 9112)."""

from tests.parts.http.corpus import (
    BAD,
    HOST,
    ID,
    Drip,
    Fate,
    Group,
    Leave,
    answer,
    get,
    request,
    smuggled,
    status,
)

VERSION = (400, 505)
METHOD = (400, 405, 501)
HOST_LINE = b"Host: " + HOST.encode()

lines = Group("lines", "RFC 9112 2.2")
names = Group("names", "RFC 9110 5.1")
octets = Group("octets", "RFC 9110 5.5")
starts = Group("starts", "RFC 9112 3")
versions = Group("versions", "RFC 9112 2.3")
methods = Group("methods", "RFC 9110 9.1")


def start(line: bytes) -> bytes:
    """A request with this request line."""
    return line + b"\r\n" + HOST_LINE + b"\r\n\r\n"


GET = b"GET /" + ID + b" HTTP/1.1"
GOOD = GET + b"\r\n" + HOST_LINE

LINE_ENDS = {
    "start": GET + b"%s" + HOST_LINE + b"\r\n\r\n",
    "host": GOOD + b"%sX: y\r\n\r\n",
    "header": GOOD + b"\r\nX: y%s\r\n",
    "end": GOOD + b"\r\n%s",
    "all": GET + b"%s" + HOST_LINE + b"%s%s",
    "method": b"GET%s /" + ID + b" HTTP/1.1\r\n" + HOST_LINE + b"\r\n\r\n",
    "target": b"GET /" + ID + b"%s HTTP/1.1\r\n" + HOST_LINE + b"\r\n\r\n",
    "value": GOOD + b"\r\nX: y%sz\r\n\r\n",
    "before-value": GOOD + b"\r\nX:%sy\r\n\r\n",
    "name": GOOD + b"\r\nX%sY: z\r\n\r\n",
}
for _end_name, _end in {"lf": b"\n", "cr": b"\r", "cr-cr-lf": b"\r\r\n", "lf-cr": b"\n\r"}.items():
    for _name, _form in LINE_ENDS.items():
        lines.refused(
            f"{_end_name}-at-{_name}",
            _form.replace(b"%s", _end),
            leave=Leave.FULL
            if _end_name == "lf" and _name in ("start", "host", "header", "end", "all")
            else Leave.NONE,
        )
for _name, _end in {"nel": b"\x85", "line-separator": "\u2028".encode()}.items():
    lines.answered(
        f"no-end-{_name}", get(b"X: y" + _end + b"Content-Length: 50"), rfc="RFC 9110 5.5"
    )
for _name, _end in {"vt": b"\x0b", "ff": b"\x0c", "fs": b"\x1c", "rs": b"\x1e"}.items():
    lines.refused(
        f"no-end-{_name}",
        get(b"X: y" + _end + b"Content-Length: 50"),
        leave=Leave.FULL,
        rfc="RFC 9110 5.5",
    )

lines.answered("empty-before", b"\r\n" + get())
lines.answered(
    "empty-before-thrice", b"\r\n" * 3 + get(), answers=status(200, 400), then=Fate.EITHER
)
lines.answered(
    "empty-between",
    request(b"/1/" + ID) + b"\r\n" + get(),
    answers=[answer(path="/1/@ID@"), answer()],
)
lines.refused("empty-before-thousands", b"\r\n" * 10_000 + get(), leave=Leave.FULL)
lines.refused("empty-before-endless", Drip(b"\r\n" * 2048, 4096), leave=Leave.FULL)
lines.refused("lf-before", b"\n" + get(), leave=Leave.FULL)
lines.refused("lf-before-thrice", b"\n\n\n" + get(), leave=Leave.FULL)
lines.refused("cr-before", b"\r" + get())
lines.refused("space-line-before", b" \r\n" + get())
lines.refused("nul-before", b"\x00" + get())
lines.refused("bom-before", b"\xef\xbb\xbf" + get())
lines.refused("comment-before", b"# a request\r\n" + get())

FOLDS = {
    "space": b"X: y\r\n z",
    "tab": b"X: y\r\n\tz",
    "spaces": b"X: y\r\n     z",
    "twice": b"X: y\r\n z\r\n z",
    "header-inside": b"X: y\r\n Content-Length: 50",
    "colon": b"X: y\r\n : z",
    "blank": b"X: y\r\n ",
    "blank-tab": b"X: y\r\n\t",
    "empty-value": b"X:\r\n y",
    "before-colon": b"X\r\n : y",
}
for _name, _fold in FOLDS.items():
    lines.refused(
        f"fold-{_name}",
        get(_fold),
        rfc="RFC 9112 5.2",
        leave=Leave.NONE if _name == "before-colon" else Leave.FULL,
    )
lines.refused("fold-last-lf", get(b"X: y\n z"), rfc="RFC 9112 5.2")
lines.refused(
    "fold-of-start",
    GET + b"\r\n X: y\r\n" + HOST_LINE + b"\r\n\r\n",
    rfc="RFC 9112 2.2",
    leave=Leave.FULL,
)
lines.refused("fold-of-start-blank", GET + b"\r\n \r\n" + HOST_LINE + b"\r\n\r\n", leave=Leave.FULL)
lines.refused("fold-in-start", b"GET /" + ID + b"\r\n HTTP/1.1\r\n" + HOST_LINE + b"\r\n\r\n")

for _name, _line in {
    "no-colon": b"X",
    "no-colon-words": b"x y z",
    "no-colon-equals": b"X=y",
    "no-name": b": y",
    "colon-alone": b":",
    "colons": b"::",
    "space-behind": b"X : y",
    "spaces-behind": b"X   : y",
    "tab-behind": b"X\t: y",
    "space-inside": b"X Y: z",
    "pseudo": b":path: /smuggled",
    "start-inside": b"GET / HTTP/1.1",
}.items():
    names.refused(_name, get(_line), rfc="RFC 9112 5.1")
for _separator in b'"(),/;<=>?@[\\]{}':
    names.refused(f"separator-{_separator:02x}", get(b"X%cY: z" % _separator), rfc="RFC 9110 5.6.2")
for _token in b"!#$%&'*+-.^_`|~":
    names.answered(f"token-{_token:02x}", get(b"X%cY: z" % _token), rfc="RFC 9110 5.6.2")
for _name, _line in {
    "digits": b"200: y",
    "one-character": b"x: y",
    "long": b"x" * 1000 + b": y",
    "prototype": b"__proto__: y",
    "value-empty": b"X:",
    "value-spaces": b"X:     ",
    "value-no-space": b"X:y",
    "value-colons": b"X: a:b:c",
    "value-quote-open": b'X: "y',
    "value-tab": b"X: a\tb",
    "value-like-request": b"X: GET /smuggled HTTP/1.1",
    "value-obs-text": b"X: caf\xe9",
    "value-utf-8": "X: \u4f60\u597d".encode(),
    "value-broken-utf-8": b"X: \xc3\x28",
    "value-0xff": b"X: \xff\xfe",
}.items():
    names.answered(f"good-{_name}", get(_line))
names.answered("good-doubled", get(b"X: y", b"X: z", b"x: y"), rfc="RFC 9110 5.2")

CONTROLS = (*range(0x20), 0x7F)
HIGH = (0x80, 0x85, 0xA0, 0xAD, 0xE9, 0xFF)


def of_octet(octet: int) -> None:
    """One octet in each place where it is no delimiter of ours."""
    char = bytes((octet,))
    places = {
        "method": start(b"G" + char + b"ET /" + ID + b" HTTP/1.1"),
        "target": start(b"GET /" + char + ID + b" HTTP/1.1"),
        "query": start(b"GET /" + ID + b"?a=" + char + b" HTTP/1.1"),
        "name": get(b"X" + char + b"Y: z"),
        "value": get(b"X: y" + char + b"z"),
    }
    if char in (b"\r", b"\n"):  # the others stand among the lines
        places = {place: places[place] for place in ("method", "query")}
    for place, data in places.items():
        if place == "value" and octet in (0x09, *HIGH):
            octets.answered(f"value-{octet:02x}", data)
            continue
        octets.refused(
            f"{place}-{octet:02x}",
            data,
            statuses=METHOD if place == "method" else BAD,
            rfc={"method": "RFC 9112 3.1", "value": "RFC 9110 5.5"}.get(place, "RFC 9112 3.2"),
            leave=Leave.FULL if place == "value" and octet else Leave.NONE,
        )


for _octet in (*CONTROLS, *HIGH):
    of_octet(_octet)
for _place, _line in {"path": b"/\xc3\xa9" + ID, "query": b"/" + ID + b"?\xc3\xa9"}.items():
    octets.refused(f"{_place}-utf-8", start(b"GET " + _line + b" HTTP/1.1"), rfc="RFC 3986 2")
octets.refused("version-nul", start(GET + b"\x00"), statuses=VERSION)
octets.refused("version-high", start(GET + b"\xff"), statuses=VERSION)

for _name, _line in {
    "no-version": b"GET /" + ID,
    "no-version-space": b"GET /" + ID + b" ",
    "no-target": b"GET HTTP/1.1",
    "no-target-spaces": b"GET  HTTP/1.1",
    "no-method": b"/" + ID + b" HTTP/1.1",
    "no-method-space": b" /" + ID + b" HTTP/1.1",
    "method-alone": b"GET",
    "method-and-space": b"GET ",
    "version-alone": b"HTTP/1.1",
    "four-words": b"GET /" + ID + b" /smuggled HTTP/1.1",
    "two-versions": GET + b" HTTP/1.1",
    "word-behind": GET + b" x",
    "space-in-target": b"GET /a b/" + ID + b" HTTP/1.1",
    "comma": b"GET,/" + ID + b",HTTP/1.1",
    "plus": b"GET+/" + ID + b"+HTTP/1.1",
    "quoted": b'"GET" "/' + ID + b'" "HTTP/1.1"',
    "header-first": b"X: y",
    "response": b"HTTP/1.1 200 OK",
}.items():
    starts.refused(_name, start(_line), statuses=(400, 405, 501, 505))
for _name, _line in {
    "two-spaces-before-target": b"GET  /" + ID + b" HTTP/1.1",
    "two-spaces-before-version": b"GET /" + ID + b"  HTTP/1.1",
}.items():
    starts.answered(_name, start(_line), answers=status(200, 400), then=Fate.EITHER)
for _name, _line in {  # RFC 9112 3: a recipient may part the words at any whitespace
    "tab-before-target": b"GET\t/" + ID + b" HTTP/1.1",
    "tab-before-version": b"GET /" + ID + b"\tHTTP/1.1",
    "vt-before-target": b"GET\x0b/" + ID + b" HTTP/1.1",
    "ff-before-version": b"GET /" + ID + b"\x0cHTTP/1.1",
    "space-behind": GET + b" ",
    "tab-behind": GET + b"\t",
    "space-before": b" " + GET,
    "tab-before": b"\t" + GET,
}.items():
    starts.refused(_name, start(_line), statuses=(400, 405, 501, 505), leave=Leave.FULL)

for _name, _version in {
    "0.9": b"HTTP/0.9",
    "0.0": b"HTTP/0.0",
    "2.0": b"HTTP/2.0",
    "3.0": b"HTTP/3.0",
    "9.9": b"HTTP/9.9",
    "2": b"HTTP/2",
    "1": b"HTTP/1",
    "no-minor": b"HTTP/1.",
    "no-major": b"HTTP/.1",
    "no-number": b"HTTP/",
    "no-slash": b"HTTP1.1",
    "name-alone": b"HTTP",
    "11.1": b"HTTP/11.1",
    "1.10": b"HTTP/1.10",
    "1.01": b"HTTP/1.01",
    "01.1": b"HTTP/01.1",
    "three-numbers": b"HTTP/1.1.1",
    "comma": b"HTTP/1,1",
    "minus": b"HTTP/-1.1",
    "plus": b"HTTP/+1.1",
    "letters": b"HTTP/a.b",
    "hex": b"HTTP/1.a",
    "space-behind-slash": b"HTTP/ 1.1",
    "space-before-slash": b"HTTP /1.1",
    "backslash": b"HTTP\\1.1",
    "lower": b"http/1.1",
    "mixed": b"Http/1.1",
    "https": b"HTTPS/1.1",
    "x-before": b"XHTTP/1.1",
    "short": b"HTP/1.1",
    "rtsp": b"RTSP/1.0",
    "ice": b"ICE/1.0",
    "sip": b"SIP/2.0",
    "icap": b"ICAP/1.0",
    "shttp": b"Secure-HTTP/1.4",
    "long": b"HTTP/1." + b"1" * 1000,
    "semicolon": b"HTTP/1.1;x",
    "wide-digits": "HTTP/\uff11.\uff11".encode(),
}.items():
    versions.refused(_name, start(b"GET /" + ID + b" " + _version), statuses=VERSION)
for _minor in (b"2", b"9"):
    versions.refused(
        f"1.{_minor.decode()}",
        start(b"GET /" + ID + b" HTTP/1." + _minor),
        statuses=VERSION,
        leave=Leave.FULL,
        rfc="RFC 9110 2.5",
    )
versions.refused("simple", b"GET /" + ID + b"\r\n", statuses=VERSION)
versions.refused("simple-lf", b"GET /" + ID + b"\n", statuses=VERSION)
versions.refused("simple-old", b"GET /" + ID + b" HTTP/0.9\r\n\r\n", statuses=VERSION)
versions.answered("1.0", start(b"GET /" + ID + b" HTTP/1.0"), then=Fate.CLOSED)
versions.answered(
    "1.0-no-host", b"GET /" + ID + b" HTTP/1.0\r\n\r\n", answers=status(200), then=Fate.CLOSED
)
versions.answered(
    "1.0-kept",
    b"GET /" + ID + b" HTTP/1.0\r\n" + HOST_LINE + b"\r\nConnection: keep-alive\r\n\r\n",
    then=Fate.EITHER,
    rfc="RFC 9112 9.3",
)

KNOWN = (
    *(b"PROPFIND", b"PROPPATCH", b"MKCOL", b"COPY", b"MOVE", b"LOCK", b"UNLOCK", b"REPORT"),
    *(b"SEARCH", b"PURGE", b"LINK", b"SOURCE", b"M-SEARCH", b"SUBSCRIBE", b"DESCRIBE", b"PLAY"),
    *(b"TRACE", b"QUERY"),
)
UNKNOWN = (b"BREW", b"TRACK", b"DEBUG", b"G", b"GE", b"GETX", b"POSTS", b"get", b"Get", b"HTTP")
TOKENS = (b"_", b"!", b"$", b"~", b"1", b"GET-", b"-GET", b"G*T", b"P|T", b"__proto__")
for _method in (*KNOWN, *UNKNOWN, *TOKENS):
    methods.answered(
        _method.decode(),
        request(b"/smuggled/" + ID, method=_method),
        answers=status(*METHOD),
        then=Fate.EITHER,
    )
for _separator in b'"(),/:;<=>?@[\\]{}':
    methods.refused(
        f"separator-{_separator:02x}",
        start(b"G%cT /" % _separator + ID + b" HTTP/1.1"),
        statuses=METHOD,
        rfc="RFC 9110 5.6.2",
    )
for _size in (1 << 10, 1 << 14, 1 << 20):
    methods.refused(
        f"long-{_size}",
        start(b"G" * _size + b" /" + ID + b" HTTP/1.1"),
        statuses=(*METHOD, 414, 431),
        leave=Leave.FULL,
    )
methods.refused("endless", Drip(b"G" * 4096, 4096), statuses=(*METHOD, 414, 431), leave=Leave.FULL)
_INSIDE = smuggled("methods.body-of-unknown")
methods.answered(
    "body-of-unknown",
    request(b"/" + ID, b"Content-Length: %d" % len(_INSIDE), method=b"BREW", body=_INSIDE),
    answers=status(*METHOD),
    then=Fate.EITHER,
)
GROUPS = (lines, names, octets, starts, versions, methods)
