"""How long a body is: Content-Length, Transfer-Encoding, and both. Where two readers of one
connection disagree on it, the rest of a body becomes somebody's request (CL.TE, TE.CL, TE.TE).
"""

from tests.parts.http.corpus import (
    CLOSE,
    HOST,
    ID,
    Fate,
    Group,
    Leave,
    answer,
    get,
    post,
    posted,
    request,
    smuggled,
    status,
)

CHUNKED = b"Transfer-Encoding: chunked"
END = b"0\r\n\r\n"
GARBAGE = b"@@@"  # begins no request: @ is no character of a method
GARBAGE_AFTER = [answer(method="POST")]
NO_CODING = (400, 501)

lengths = Group("lengths", "RFC 9110 8.6")
codings = Group("codings", "RFC 9112 6.1")
both = Group("both", "RFC 9112 6.3")


def length(value: bytes) -> bytes:
    return b"Content-Length: " + value


BAD_LENGTHS = {
    "plus": b"+3",
    "minus": b"-3",
    "minus-zero": b"-0",
    "point": b"3.0",
    "exponent": b"3e0",
    "hex": b"0x3",
    "hex-bare": b"a",
    "octal": b"0o3",
    "suffix": b"3b",
    "underscore": b"0_3",
    "quoted": b'"3"',
    "word": b"three",
    "semicolon": b"3;",
    "two-numbers": b"3 3",
    "comma-behind": b"3,",
    "comma-before": b",3",
    "list-different": b"3, 4",
    "list-with-minus": b"3, -3",
    "empty": b"",
    "spaces": b"   ",
    "nul-behind": b"3\x00",
    "nul-before": b"\x003",
    "vt-before": b"\x0b3",
    "vt-behind": b"3\x0b",
    "ff-before": b"\x0c3",
    "ff-behind": b"3\x0c",
    "fs-behind": b"3\x1c",
    "us-before": b"\x1f3",
    "nel-behind": b"3\x85",
    "nbsp-before": b"\xa03",
    "nbsp-behind": b"3\xa0",
    "superscript": b"\xb3",
    "arabic-digit": "\u0663".encode(),
    "wide-digit": "\uff13".encode(),
    "bom": b"\xef\xbb\xbf3",
}
for _name, _value in BAD_LENGTHS.items():
    lengths.refused(_name, post(length(_value), body=b"abc"))
lengths.refused("list-equal", post(length(b"3, 3"), body=b"abc"), leave=Leave.FULL)
lengths.refused("doubled-equal", post(length(b"3"), length(b"3"), body=b"abc"), leave=Leave.FULL)
lengths.refused("doubled-different", post(length(b"3"), length(b"0"), body=b"abc"))
lengths.refused("doubled-different-reversed", post(length(b"0"), length(b"3"), body=b"abc"))
lengths.refused("doubled-one-empty", post(length(b"3"), length(b""), body=b"abc"))
lengths.refused("doubled-one-minus", post(length(b"3"), length(b"-3"), body=b"abc"))
lengths.refused("doubled-zeros", post(length(b"3"), length(b"03"), body=b"abc"))
lengths.refused("doubled-apart", post(length(b"3"), b"X: y", b"content-length: 0", body=b"abc"))
lengths.refused("thrice", post(*[length(b"3")] * 3, body=b"abc"), leave=Leave.FULL)
lengths.refused("minus-on-get", get(length(b"-1")))
lengths.refused("plus-on-head", request(b"/" + ID, length(b"+0"), method=b"HEAD"))
for _name, _value in {
    "2-31": b"2147483648",
    "2-32": b"4294967296",
    "2-32-wraps": b"4294967299",
    "2-63": b"9223372036854775808",
    "2-64": b"18446744073709551616",
    "2-64-wraps": b"18446744073709551619",
    "ten-to-the-30": b"1" + b"0" * 30,
    "thousand-digits": b"9" * 1000,
}.items():
    lengths.refused(f"overflow-{_name}", post(length(_value), body=b"abc"), statuses=(400, 413))

lengths.answered("exact", post(length(b"3"), body=b"abc"), answers=posted("abc"))
lengths.answered("zero", post(length(b"0")), answers=posted())
lengths.answered("leading-zeros", post(length(b"0003"), body=b"abc"), answers=posted("abc"))
lengths.answered(
    "leading-zeros-many",
    post(length(b"0" * 200 + b"3"), body=b"abc"),
    answers=status(200, 400),
    then=Fate.EITHER,
)
lengths.answered("spaces-around", post(length(b"   3  "), body=b"abc"), answers=posted("abc"))
lengths.answered("tabs-around", post(length(b"\t3\t"), body=b"abc"), answers=posted("abc"))
lengths.answered("no-space", post(b"Content-Length:3", body=b"abc"), answers=posted("abc"))
lengths.answered("upper-case", post(b"CONTENT-LENGTH: 3", body=b"abc"), answers=posted("abc"))
lengths.answered("none-on-post", post(), answers=posted(), rfc="RFC 9112 6.3")
lengths.answered("none-on-put", request(b"/" + ID, method=b"PUT"), answers=[answer(method="PUT")])
lengths.answered(
    "old-version",
    b"POST /" + ID + b" HTTP/1.0\r\nHost: " + HOST.encode() + b"\r\nContent-Length: 3\r\n\r\nabc",
    answers=posted("abc"),
    then=Fate.CLOSED,
    rfc="RFC 9112 9.3",
)
for _method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS"):
    _wanted = answer(method=_method.decode(), body=None)
    _in_body = f"request-in-body-of-{_method.decode().lower()}"
    for _name, _body in {
        f"body-of-{_method.decode().lower()}": b"abc",
        _in_body: smuggled(f"lengths.{_in_body}"),
    }.items():
        lengths.answered(
            _name,
            request(b"/" + ID, length(b"%d" % len(_body)), method=_method, body=_body),
            answers=status(200, 204) if _method == b"OPTIONS" else [_wanted],
            rfc="RFC 9110 9.3",
        )
for _name, _line in {
    "none": b"X: y",
    "short": length(b"0"),
    "underscore-in-name": b"Content_Length: 3",
    "no-dash-in-name": b"ContentLength: 3",
    "x-in-name": b"X-Content-Length: 3",
}.items():
    lengths.refused(f"garbage-{_name}", post(_line, body=GARBAGE), after=GARBAGE_AFTER)
lengths.refused("longer-than-said", post(length(b"3"), body=b"abc@@@"), after=posted("abc"))

NAMES_SPOILED = {
    "space-behind": b"%s : %s",
    "tab-behind": b"%s\t: %s",
    "nul-behind": b"%s\x00: %s",
    "vt-behind": b"%s\x0b: %s",
    "ff-behind": b"%s\x0c: %s",
    "cr-behind": b"%s\r: %s",
    "nbsp-behind": b"%s\xa0: %s",
    "folded-behind": b"%s\r\n : %s",
    "space-before": b" %s: %s",
    "tab-before": b"\t%s: %s",
    "vt-before": b"\x0b%s: %s",
    "nul-before": b"\x00%s: %s",
    "bom-before": b"\xef\xbb\xbf%s: %s",
    "no-colon": b"%s %s",
    "semicolon": b"%s; %s",
    "equals": b"%s=%s",
    "value-folded": b"%s:\r\n %s",
    "value-folded-by-tab": b"%s:\r\n\t%s",
    "value-behind-lf": b"%s:\n %s",
    "behind-lf": b"X: y\n%s: %s",
    "behind-cr": b"X: y\r%s: %s",
    "behind-nul": b"X: y\x00%s: %s",
    "two-colons": b"%s:: %s",
    "colon-before": b":%s: %s",
}
SPOILED_ALLOWED = {  # a line may end with LF, and fields may be folded, to who wants to be lenient
    *("value-folded", "value-folded-by-tab", "value-behind-lf", "behind-lf"),
    *("space-before", "tab-before"),
}
for _name, _form in NAMES_SPOILED.items():
    _leave = Leave.FULL if _name in SPOILED_ALLOWED else Leave.NONE
    lengths.refused(
        f"name-{_name}",
        post(_form % (b"Content-Length", b"3"), body=b"abc"),
        rfc="RFC 9112 5",
        leave=_leave,
    )
    codings.refused(
        f"name-{_name}",
        post(_form % (b"Transfer-Encoding", b"chunked"), body=END),
        statuses=NO_CODING,
        rfc="RFC 9112 5",
        leave=_leave,
    )
lengths.refused("space-in-name", post(b"Content Length: 3", body=b"abc"), rfc="RFC 9112 5")
codings.refused("space-in-name", post(b"Transfer Encoding: chunked", body=END), rfc="RFC 9112 5")
codings.refused(
    "soft-hyphen-in-name", post(b"Transfer\xadEncoding: chunked", body=END), rfc="RFC 9110 5.1"
)
codings.refused(
    "hyphen-in-name",
    post("Transfer\u2010Encoding: chunked".encode(), body=END),
    rfc="RFC 9110 5.1",
)

BAD_CODINGS = {
    "x-before": b"xchunked",
    "x-behind": b"chunkedx",
    "cut": b"chunke",
    "split": b"chun ked",
    "twice-by-space": b"chunked chunked",
    "dash": b"chunked-",
    "slash": b"chunked/1",
    "colon": b"chunked:",
    "colon-before": b": chunked",
    "equals": b"chunked=1",
    "quoted": b'"chunked"',
    "apostrophes": b"'chunked'",
    "brackets": b"[chunked]",
    "backslash": b"chun\\ked",
    "escape": b"%63hunked",
    "identity": b"identity",
    "identity-before": b"identity, chunked",
    "identity-behind": b"chunked, identity",
    "gzip": b"gzip",
    "gzip-behind": b"chunked, gzip",
    "twice": b"chunked, chunked",
    "twice-no-space": b"chunked,chunked",
    "x-and-chunked": b"x, chunked",
    "chunked-and-x": b"chunked, x",
    "trailers": b"trailers",
    "star": b"*",
    "empty": b"",
    "comma": b",",
    "kelvin-sign": "chun\u212aed".encode(),
    "wide": "\uff43hunked".encode(),
    "nul-before": b"\x00chunked",
    "nul-behind": b"chunked\x00",
    "vt-before": b"\x0bchunked",
    "vt-behind": b"chunked\x0b",
    "ff-before": b"\x0cchunked",
    "ff-behind": b"chunked\x0c",
    "fs-behind": b"chunked\x1c",
    "bs-behind": b"chunked\x08",
    "del-behind": b"chunked\x7f",
    "nel-behind": b"chunked\x85",
    "nbsp-before": b"\xa0chunked",
    "nbsp-behind": b"chunked\xa0",
    "cr-behind": b"chunked\r",
    "folded-behind": b"chunked\r\n , identity",
    "folded-empty": b"chunked\r\n ",
}
for _name, _value in BAD_CODINGS.items():
    codings.refused(_name, post(b"Transfer-Encoding: " + _value, body=END), statuses=NO_CODING)
for _name, _value in {  # a list may have empty members, and gzip is a coding that may be known
    "comma-behind": b"chunked,",
    "comma-before": b", chunked",
    "semicolon": b"chunked;",
    "parameter": b"chunked;q=1",
    "gzip-before": b"gzip, chunked",
    "deflate-before": b"deflate, chunked",
}.items():
    codings.refused(
        _name,
        post(b"Transfer-Encoding: " + _value, body=END),
        statuses=NO_CODING,
        leave=Leave.NONE if _name == "semicolon" else Leave.FULL,
    )
for _name, _values in {
    "chunked-chunked": (b"chunked", b"chunked"),
    "chunked-identity": (b"chunked", b"identity"),
    "identity-chunked": (b"identity", b"chunked"),
    "chunked-x": (b"chunked", b"x"),
    "x-chunked": (b"x", b"chunked"),
    "chunked-empty": (b"chunked", b""),
    "empty-chunked": (b"", b"chunked"),
    "gzip-chunked": (b"gzip", b"chunked"),
}.items():
    codings.refused(
        f"doubled-{_name}",
        post(*(b"Transfer-Encoding: " + value for value in _values), body=END),
        statuses=NO_CODING,
        leave=Leave.FULL if b"" in _values or b"gzip" in _values else Leave.NONE,
    )
codings.refused(
    "doubled-other-case",
    post(CHUNKED, b"transfer-encoding: x", body=END),
    statuses=NO_CODING,
)
for _name, _line in {
    "lower": b"transfer-encoding: chunked",
    "upper": b"TRANSFER-ENCODING: CHUNKED",
    "mixed": b"tRANSFER-eNCODING: cHuNkEd",
    "no-space": b"Transfer-Encoding:chunked",
    "spaces-before": b"Transfer-Encoding:    chunked",
    "space-behind": b"Transfer-Encoding: chunked ",
    "tab-before": b"Transfer-Encoding:\tchunked",
}.items():
    codings.answered(
        f"good-{_name}", post(_line, body=b"3\r\nabc\r\n" + END), answers=posted("abc")
    )
codings.answered(  # allowed, though many parsers don't take it
    "good-tab-behind",
    post(b"Transfer-Encoding: chunked\t", body=END),
    answers=status(200, 400),
    then=Fate.EITHER,
)
for _name, _line in {
    "underscore": b"Transfer_Encoding: chunked",
    "no-dash": b"TransferEncoding: chunked",
    "x": b"X-Transfer-Encoding: chunked",
    "te": b"TE: chunked",
    "content": b"Content-Transfer-Encoding: chunked",
}.items():
    codings.refused(f"other-name-{_name}", post(_line, body=GARBAGE), after=GARBAGE_AFTER)
for _name, _lines in {
    "alone": [CHUNKED],
    "kept": [CHUNKED, b"Connection: keep-alive"],
    "with-length": [length(b"5"), CHUNKED],
}.items():
    _head = (b"POST /" + ID + b" HTTP/1.0", b"Host: " + HOST.encode(), *_lines)
    codings.refused(
        f"old-version-{_name}",
        b"\r\n".join((*_head, b"", END)),
        statuses=NO_CODING,
        leave=Leave.ONCE,
    )

for _method in (b"GET", b"HEAD", b"DELETE"):
    codings.answered(
        f"body-of-{_method.decode().lower()}",
        request(b"/" + ID, CHUNKED, method=_method, body=b"3\r\nabc\r\n" + END),
        answers=[answer(method=_method.decode(), body=None)],
        rfc="RFC 9110 9.3",
    )


# The same bytes are one request to who counts, two to who reads chunks, and the other way.
def cl_te(name: str) -> bytes:
    """To who reads chunks it ends after the first line."""
    return END + smuggled(f"both.{name}")


def te_cl(name: str) -> bytes:
    """To who counts four bytes it ends after the first line."""
    inside = smuggled(f"both.{name}")
    return b"%x\r\n%s\r\n" % (len(inside), inside) + END


for _order in ("cl-te", "te-cl"):
    _cl_te, _te_cl = cl_te(f"{_order}-cl-te-attack"), te_cl(f"{_order}-te-cl-attack")
    for _name, _count, _body in (
        ("cl-te-attack", len(_cl_te), _cl_te),
        ("te-cl-attack", 4, _te_cl),
        ("equal", len(END), END),
        ("zero", 0, END),
        ("one-short", len(END) - 1, END),
        ("one-long", len(END) + 1, END),
    ):
        _lines = [length(b"%d" % _count), CHUNKED]
        both.refused(
            f"{_order}-{_name}",
            post(*(_lines if _order == "cl-te" else _lines[::-1]), body=_body),
            leave=Leave.ONCE,
        )
    for _name, _value in {
        "x": b"xchunked",
        "space-before": b"  chunked",
        "space-behind": b"chunked ",
        "tab": b"\tchunked",
        "vt": b"\x0bchunked",
        "ff-behind": b"chunked\x0c",
        "nul": b"chunked\x00",
        "nbsp": b"\xa0chunked",
        "identity": b"identity",
        "identity-before": b"identity, chunked",
        "identity-behind": b"chunked, identity",
        "gzip-before": b"gzip, chunked",
        "twice": b"chunked, chunked",
        "upper": b"CHUNKED",
        "quoted": b'"chunked"',
        "comma": b"chunked,",
        "semicolon": b"chunked;",
        "empty": b"",
    }.items():
        _body = cl_te(f"{_order}-{_name}")
        _lines = [length(b"%d" % len(_body)), b"Transfer-Encoding: " + _value]
        both.refused(
            f"{_order}-{_name}",
            post(*(_lines if _order == "cl-te" else _lines[::-1]), body=_body),
            statuses=NO_CODING,
            leave=Leave.ONCE if _value.strip(b" \t,").lower() == b"chunked" else Leave.NONE,
        )
for _name, _lines in {
    "length-doubled": [length(b"5"), length(b"5"), CHUNKED],
    "length-bad": [length(b"x"), CHUNKED],
    "length-empty": [length(b""), CHUNKED],
    "length-minus": [CHUNKED, length(b"-1")],
    "coding-doubled": [CHUNKED, CHUNKED, length(b"5")],
    "coding-around": [CHUNKED, length(b"5"), b"Transfer-Encoding: x"],
    "length-around": [length(b"5"), CHUNKED, length(b"0")],
    "length-spaced": [b"Content-Length : 5", CHUNKED],
    "coding-spaced": [length(b"5"), b"Transfer-Encoding : chunked"],
    "coding-behind-lf": [length(b"5"), b"X: y\nTransfer-Encoding: chunked"],
    "coding-folded": [length(b"5"), b"Transfer-Encoding:\r\n chunked"],
}.items():
    both.refused(
        _name,
        post(*_lines, body=END),
        statuses=NO_CODING,
        leave=Leave.ONCE if _name in ("coding-behind-lf", "coding-folded") else Leave.NONE,
    )
for _name, _lines in {
    "asked-to-close": [length(b"5"), CHUNKED, CLOSE],
    "coding-named-by-connection": [length(b"5"), CHUNKED, b"Connection: Transfer-Encoding"],
    "length-named-by-connection": [length(b"5"), CHUNKED, b"Connection: Content-Length"],
    "with-expect": [length(b"5"), CHUNKED, b"Expect: 100-continue"],
}.items():
    both.refused(_name, post(*_lines, body=END), leave=Leave.ONCE)
for _method in (b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS"):
    _body = cl_te(f"on-{_method.decode().lower()}")
    both.refused(
        f"on-{_method.decode().lower()}",
        request(b"/" + ID, length(b"%d" % len(_body)), CHUNKED, method=_method, body=_body),
        leave=Leave.ONCE,
    )
# Who takes the first name for the second one's equal sees both.
both.refused(
    "length-and-coding-underscore",
    post(length(b"0"), b"Transfer_Encoding: chunked", body=GARBAGE),
    after=GARBAGE_AFTER,
)
both.answered(
    "coding-and-length-underscore",
    post(CHUNKED, b"Content_Length: 50", body=b"3\r\nabc\r\n" + END),
    answers=posted("abc"),
)
GROUPS = (lengths, codings, both)
