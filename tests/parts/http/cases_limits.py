"""Too much, too slow, in pieces, and cut off. Every limit at its maximum and one above it."""

from tests.parts.http.corpus import (
    HOST,
    ID,
    LIMITS,
    Answer,
    Drip,
    End,
    Fate,
    Group,
    Leave,
    Pause,
    answer,
    chunked,
    get,
    post,
    posted,
    request,
    status,
)

CHUNKED = b"Transfer-Encoding: chunked"
END = b"0\r\n\r\n"
EXPECT = b"Expect: 100-continue"
HOST_LINE = b"Host: " + HOST.encode()
HOST_BYTES = len(b"Host") + len(HOST)
LATE = (408,)

limits = Group("limits", "RFC 9110 15.5")
slow = Group("slow", "RFC 9110 15.5.9")
fragments = Group("fragments", "RFC 9112 2.2")
early = Group("early", "RFC 9112 8")


def padded(target: bytes, size: int) -> bytes:
    return target + b"x" * (size - len(target))


def spread(size: int) -> list[bytes]:
    """Header lines whose names and values have, with Host, `size` bytes."""
    names = [b"X%d" % n for n in range(10)]
    rest = size - HOST_BYTES - sum(map(len, names))
    sizes = [rest // 10] * 9 + [rest - rest // 10 * 9]
    return [name + b": " + b"v" * n for name, n in zip(names, sizes, strict=True)]


# The id is put in when the case is made, so what must have a size has no id in it.
for _over in (0, 1):
    _at = "over" if _over else "most"
    _target = padded(b"/", LIMITS.target_bytes + _over)
    _query = padded(b"/?", LIMITS.target_bytes + _over)
    _lines = [b"X%d: y" % n for n in range(LIMITS.headers - 1 + _over)]
    _spread = spread(LIMITS.header_bytes + _over)
    _single = [b"X: " + b"v" * (LIMITS.header_bytes - HOST_BYTES - 1 + _over)]
    _long = [b"X" * (LIMITS.header_bytes - HOST_BYTES - 1 + _over) + b": v"]
    for _kind, _bytes, _status in (
        ("target", request(_target), 414),
        ("query", request(_query), 414),
        ("headers", get(*_lines), 431),
        ("header-bytes", get(*_spread), 431),
        ("header-value", get(*_single), 431),
        ("header-name", get(*_long), 431),
    ):
        if _over:
            limits.refused(f"{_kind}-over", _bytes, statuses=(_status,), leave=Leave.FULL)
        else:
            limits.answered(f"{_kind}-most", _bytes, answers=status(200))
    _size = LIMITS.body_bytes + _over
    _body = b"b" * _size
    _half = _size // 2
    _pieces = (_half, _size - _half)
    for _kind, _bytes in {
        "length": post(b"Content-Length: %d" % _size, body=_body),
        "chunk": chunked(b"%x\r\n%s\r\n" % (_size, _body) + END),
        "chunks": chunked(b"".join(b"%x\r\n%s\r\n" % (n, b"b" * n) for n in _pieces) + END),
    }.items():
        if _over:
            limits.refused(f"body-{_kind}-over", _bytes, statuses=(413,), leave=Leave.FULL)
        else:
            limits.answered(f"body-{_kind}-most", _bytes, answers=posted(_body.decode()))

for _name, _bytes, _statuses in (
    ("target-100-kib", request(b"/" + b"x" * 102_400), (414,)),
    ("query-mib", request(b"/?" + b"x" * (1 << 20)), (414,)),
    ("headers-1000", get(*(b"X%d: y" % n for n in range(1000))), (431,)),
    ("headers-same-name", get(*(b"X: y" for _ in range(1000))), (431,)),
    ("headers-empty", get(*(b"X:" for _ in range(10_000))), (431,)),
    ("header-mib", get(b"X: " + b"v" * (1 << 20)), (431,)),
    ("header-name-mib", get(b"X" * (1 << 20) + b": v"), (431,)),
    ("cookie-100-kib", get(b"Cookie: " + b"a=b; " * 20_000), (431,)),
    ("host-mib", request(b"/" + ID).replace(HOST_LINE, b"Host: " + b"a" * (1 << 20)), (400, 431)),
    ("value-spaces-mib", get(b"X:" + b" " * (1 << 20) + b"y"), (400, 431)),
    ("version-mib", b"GET / HTTP/1.1" + b"1" * (1 << 20) + b"\r\n\r\n", (400, 414, 431, 505)),
    ("length-digits-mib", post(b"Content-Length: " + b"0" * (1 << 20) + b"3"), (400, 413, 431)),
    ("body-tib", post(b"Content-Length: %d" % (1 << 40)), (413,)),
    ("body-tib-on-get", get(b"Content-Length: %d" % (1 << 40)), (413,)),
    ("chunk-tib", chunked(b"%x\r\n" % (1 << 40)), (400, 408, 413)),
):
    limits.refused(_name, _bytes, statuses=_statuses, leave=Leave.FULL)
limits.refused(
    "body-over-expecting",
    post(b"Content-Length: %d" % (1 << 30), EXPECT),
    statuses=(413,),
    interims=(),
    leave=Leave.FULL,
)
for _name, _start, _piece, _statuses in (
    ("start", b"GET /", b"x" * 4096, (414,)),
    ("version", b"GET / HTTP/", b"1" * 4096, (400, 414, 431, 505)),
    ("name", get()[:-2], b"X" * 4096, (431,)),
    ("value", get()[:-2] + b"X: ", b"v" * 4096, (431,)),
    ("headers", get()[:-2], b"X: y\r\n" * 512, (431,)),
    ("headers-empty", get()[:-2], b"X:\r\n" * 512, (431,)),
    ("spaces", get()[:-2] + b"X:", b" " * 4096, (400, 431)),
    ("chunk-size", chunked(b"0"), b"0" * 4096, (400, 413, 431)),
    ("chunks", chunked(b""), b"10\r\n0123456789abcdef\r\n" * 128, (400, 413)),
    ("chunk", chunked(b"10000000\r\n"), b"b" * 4096, (400, 413)),
    ("body", post(b"Content-Length: 268435456"), b"b" * 4096, (413,)),
):
    limits.refused(
        f"endless-{_name}",
        _start,
        Drip(_piece, 4096),
        statuses=_statuses,
        leave=Leave.FULL,
    )


def late(name: str, *script: bytes | Drip | Pause, after: int = 0) -> None:
    """Refused with 408 when its time is over, though bytes may still come."""
    slow.refused(
        name, *script, statuses=LATE, after=[Answer()] * after, leave=Leave.FULL, slow=True
    )


def dripped(data: bytes, pause_s: float) -> list[bytes | Pause]:
    return [step for n in range(len(data)) for step in (data[n : n + 1], Pause(pause_s))]


HEAD = request(b"/smuggled/" + ID)
BODY_HEAD = request(b"/smuggled/" + ID, b"Content-Length: 1000", method=b"POST")
CHUNKS_HEAD = request(b"/smuggled/" + ID, CHUNKED, method=b"POST")
# A second and a half to two, where LIMITS gives one.
BY_BYTES = dripped(b"GET /smuggled/by-bytes HTTP/1.1\r\nHost: a.example\r\n", 0.05)[:80]
late("head-by-bytes", *BY_BYTES)
late("head-by-lines", HEAD[:-2], Drip(b"X: y\r\n", 40, 0.05))
late("head-never-ended", HEAD[:-2])
late("head-one-byte-short", HEAD[:-1])
late("first-byte-alone", b"G")
late("start-never-ended", b"GET /smuggled/" + ID)
late("start-by-bytes", b"GET /", Drip(b"x", 40, 0.05))
late("value-never-ended", HEAD[:-2] + b"X: y")
late("value-by-bytes", HEAD[:-2] + b"X: ", Drip(b"y", 40, 0.05))
late("body-by-bytes", BODY_HEAD, Drip(b"b", 40, 0.05))
late("body-never-sent", BODY_HEAD)
late("body-half-sent", BODY_HEAD + b"b" * 100)
late("body-one-byte-short", BODY_HEAD.replace(b"1000", b"3") + b"bb")
late("body-expected-never-sent", post(b"Content-Length: 3", EXPECT))
late("chunk-never-sent", CHUNKS_HEAD)
late("chunk-never-ended", CHUNKS_HEAD + b"a\r\nabc")
late("chunk-size-never-ended", CHUNKS_HEAD + b"a")
late("chunk-size-by-bytes", CHUNKS_HEAD, Drip(b"0", 40, 0.05))
late("chunks-by-bytes", CHUNKS_HEAD, Drip(b"1\r\nb\r\n", 40, 0.05))
late("chunk-extension-by-bytes", CHUNKS_HEAD + b"1;a=", Drip(b"b", 40, 0.05))
late("last-chunk-missing", CHUNKS_HEAD + b"3\r\nabc\r\n")
late("end-missing", CHUNKS_HEAD + b"3\r\nabc\r\n0\r\n")
late("trailers-by-lines", CHUNKS_HEAD + b"0\r\n", Drip(b"X: y\r\n", 40, 0.05))
late("trailer-never-ended", CHUNKS_HEAD + b"0\r\nX: y")
late("second-head-never-ended", request(b"/1/" + ID) + HEAD[:-2], after=1)
late("second-head-by-bytes", request(b"/1/" + ID), *BY_BYTES, after=1)
late("second-body-never-sent", request(b"/1/" + ID) + BODY_HEAD, after=1)
slow.refused("silent", fate=Fate.CLOSED, slow=True, leave=Leave.FULL, rfc="RFC 9112 9.5")
slow.refused(
    "empty-lines-by-one",
    Drip(b"\r\n", 40, 0.05),
    statuses=(400, 408),
    fate=Fate.DROPPED,
    slow=True,
    leave=Leave.FULL,
)
slow.answered("idle-afterwards", get(), then=Fate.CLOSED, slow=True, rfc="RFC 9112 9.5")
slow.answered(
    "body-at-a-good-rate",
    post(b"Content-Length: 32000"),
    Drip(b"b" * 800, 40, 0.04),
    answers=posted("b" * 32_000),
)
for _name, _bytes in {
    "deaf": request(b"/deaf", b"Content-Length: 60000", method=b"POST", body=b"b" * 60_000),
    "deaf-to-small-replies": request(b"/deaf", b"X: " + b"y" * 1000),
}.items():
    slow.answered(
        _name,
        Drip(_bytes, 200 if _name == "deaf" else 20_000),
        answers=(),
        then=Fate.CLOSED,
        end=End.DEAF,
        slow=True,
        rfc="RFC 9112 9.5",
    )


def cut(data: bytes, *places: int) -> list[bytes | Pause]:
    """`data` in pieces that arrive one by one."""
    steps: list[bytes | Pause] = []
    for first, last in zip((0, *places), (*places, len(data)), strict=True):
        steps += [data[first:last], Pause(0.005)]
    return steps


GOOD = get(b"X: y")
POSTED = chunked(b"3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n")
for _name, _mark in {
    "in-method": b"ET /",
    "behind-method": b" /",
    "before-target": b"/",
    "before-version": b" HTTP",
    "in-version": b"/1.1",
    "before-line-end": b"\r\nHost",
    "in-line-end": b"\nHost",
    "before-host": b"Host",
    "before-colon": b": a.ex",
    "in-value": b".example",
    "before-header": b"X: y",
    "before-end": b"\r\n\r\n",
    "in-end": b"\n\r\n",
}.items():
    fragments.answered(_name, *cut(GOOD, GOOD.index(_mark)))
fragments.answered("last-byte-later", *cut(GOOD, len(GOOD) - 1))
# In single bytes the id would not be found, so it stands there itself.
_WHOLE = GOOD.replace(ID, b"fragments.byte-by-byte")
fragments.answered("byte-by-byte", *cut(_WHOLE, *range(1, len(_WHOLE))))
for _name, _mark in {
    "before-size": b"3;a",
    "before-extension": b";a=b",
    "in-size-line-end": b"\nabc",
    "in-chunk": b"bc\r\n2",
    "behind-chunk": b"\r\n2",
    "before-last": b"0\r\nX",
    "before-trailer": b"X: y",
}.items():
    fragments.answered(
        f"chunks-{_name}", *cut(POSTED, POSTED.index(_mark)), answers=posted("abcde")
    )
_WHOLE = POSTED.replace(ID, b"fragments.chunks-byte-by-byte")
fragments.answered(
    "chunks-byte-by-byte", *cut(_WHOLE, *range(1, len(_WHOLE))), answers=posted("abcde")
)
_PAIR = request(b"/1/" + ID) + get()
for _name, _place in {
    "between": len(request(b"/1/" + ID)),
    "behind-first-byte": len(request(b"/1/" + ID)) + 1,
    "before-last-byte": len(request(b"/1/" + ID)) - 1,
}.items():
    fragments.answered(
        f"pair-{_name}", *cut(_PAIR, _place), answers=[answer(path="/1/@ID@"), answer()]
    )
for _name, _bytes, _mark in (
    ("cl-te", post(b"Content-Length: 5", CHUNKED, body=END), b"ing: chunked"),
    ("cl-te-names", post(b"Content-Length: 5", CHUNKED, body=END), b"fer-Enc"),
    ("doubled-host", get(b"Host: b.example"), b"st: b"),
    (
        "doubled-length",
        post(b"Content-Length: 3", b"Content-Length: 3", body=b"abc"),
        b"gth: 3\r\n\r",
    ),
    ("coding-x", post(b"Transfer-Encoding: xchunked", body=END), b"chunked"),
    ("cr", get(b"X: y\rz"), b"z\r\n"),
    ("lf", get(b"X: y\nY: z"), b"\nY"),
    ("fold", get(b"X: y\r\n z"), b" z"),
    ("space-before-colon", get(b"X : y"), b": y"),
    ("nul", get(b"X: \x00"), b"\x00"),
    ("chunk-size", chunked(b"0x3\r\nabc\r\n" + END), b"x3"),
    ("chunk-overflow", chunked(b"10000000000000003\r\nabc\r\n" + END), b"0000003"),
    ("extension-lf", chunked(b"3;a\nb\r\nabc\r\n" + END), b"\nb"),
    ("chunk-longer", chunked(b"3\r\nabcd\r\n" + END), b"d\r\n"),
    ("http-2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"2.0"),
):
    _statuses = (400, 413, 501, 505)
    fragments.refused(
        f"bad-{_name}",
        *cut(_bytes, _bytes.index(_mark)),
        statuses=_statuses,
        leave=Leave.ONCE
        if "cl-te" in _name
        else Leave.FULL
        if _name in ("fold", "lf", "doubled-length")
        else Leave.NONE,
    )
fragments.refused(
    "bad-byte-by-byte",
    *cut(get(b"X: y\x00"), *range(1, 60)),
)
fragments.refused(
    "bad-at-last-byte",
    *cut(chunked(b"3\r\nabc\r\n0\r\n\rX"), len(chunked(b"3\r\nabc\r\n0\r\n\r"))),
)
fragments.refused(
    "headers-over",
    *cut(get(*(b"X: y" for _ in range(LIMITS.headers))), *range(40, 640, 40)),
    statuses=(431,),
    leave=Leave.FULL,
)

_TRAILED = request(
    b"/smuggled/" + ID, CHUNKED, method=b"POST", body=b"3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n"
)
_LONG = request(b"/smuggled/" + ID, b"Content-Length: 3", method=b"POST", body=b"abc")
for _name, _bytes, _mark in (
    ("in-method", _TRAILED, b"OST"),
    ("behind-method", _TRAILED, b" /"),
    ("in-target", _TRAILED, b"muggled"),
    ("behind-target", _TRAILED, b" HTTP"),
    ("in-version", _TRAILED, b"1.1"),
    ("in-line-end", _TRAILED, b"\nHost"),
    ("behind-start", _TRAILED, b"Host"),
    ("in-name", _TRAILED, b"ost: a"),
    ("behind-colon", _TRAILED, b" a.example"),
    ("in-value", _TRAILED, b".example"),
    ("in-coding", _TRAILED, b"ked\r\n"),
    ("before-end-of-head", _TRAILED, b"\r\n\r\n3"),
    ("in-end-of-head", _TRAILED, b"\n3;"),
    ("behind-head", _TRAILED, b"3;a"),
    ("in-size", _TRAILED, b";a=b"),
    ("in-extension", _TRAILED, b"=b"),
    ("in-chunk", _TRAILED, b"bc\r\n"),
    ("behind-chunk", _TRAILED, b"\r\n0\r\n"),
    ("before-last", _TRAILED, b"0\r\nX"),
    ("in-last", _TRAILED, b"\nX: y"),
    ("in-trailer", _TRAILED, b": y\r\n"),
    ("behind-head-of-length", _LONG, b"abc"),
    ("in-body-of-length", _LONG, b"c"),
):
    _part = _bytes[: _bytes.rindex(_mark)]
    early.refused(f"shut-{_name}", _part, statuses=(400, 408), fate=Fate.DROPPED, end=End.SHUT)
    early.refused(f"reset-{_name}", _part, fate=Fate.CLOSED, end=End.RESET)
for _name, _count in {"in-trailer-end": 3, "behind-trailer": 2, "one-byte-short": 1}.items():
    _part = _TRAILED[:-_count]
    early.refused(f"shut-{_name}", _part, statuses=(400, 408), fate=Fate.DROPPED, end=End.SHUT)
    early.refused(f"reset-{_name}", _part, fate=Fate.CLOSED, end=End.RESET)
early.refused("shut-at-once", fate=Fate.CLOSED, end=End.SHUT)
early.refused("reset-at-once", fate=Fate.CLOSED, end=End.RESET)
early.answered(
    "shut-behind-request", get(), answers=(), then=Fate.EITHER, end=End.SHUT, rfc="RFC 9112 9.6"
)
early.answered(
    "shut-behind-body",
    post(b"Content-Length: 3", body=b"abc"),
    answers=(),
    then=Fate.EITHER,
    end=End.SHUT,
    rfc="RFC 9112 9.6",
)
early.answered(
    "reset-behind-request", request(b"/gone"), answers=(), then=Fate.EITHER, end=End.RESET
)
early.answered(
    "reset-behind-many", Drip(request(b"/gone"), 50), answers=(), then=Fate.EITHER, end=End.RESET
)
early.answered(
    "reset-behind-body",
    request(b"/gone", b"Content-Length: 60000", method=b"POST", body=b"b" * 60_000),
    answers=(),
    then=Fate.EITHER,
    end=End.RESET,
)
GROUPS = (limits, slow, fragments, early)
