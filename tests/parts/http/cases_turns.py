"""What follows on one connection: pipelines, Expect, Connection, Upgrade, what proxies add, and
protocols that are not HTTP/1.1.
"""

import struct

from tests.parts.http.corpus import (
    CLOSE,
    HOST,
    ID,
    LIMITS,
    SMUGGLED,
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
    smuggled,
    status,
)

CHUNKED = b"Transfer-Encoding: chunked"
END = b"0\r\n\r\n"
HOST_LINE = b"Host: " + HOST.encode()

pipelines = Group("pipelines", "RFC 9112 9.3.2")
expects = Group("expects", "RFC 9110 10.1.1")
connections = Group("connections", "RFC 9110 7.6.1")
upgrades = Group("upgrades", "RFC 9110 7.8")
proxies = Group("proxies", "RFC 9110 7.6")
foreign = Group("foreign", "RFC 9112 3")

FIRST = request(b"/1/" + ID)
ONE = [answer(path="/1/@ID@")]

pipelines.answered("two", FIRST + get(), answers=[*ONE, answer()])
pipelines.answered(
    "ten",
    b"".join(request(b"/%d/" % n + ID) for n in range(10)),
    answers=[answer(path=f"/{n}/@ID@") for n in range(10)],
)
pipelines.answered(
    "a-hundred",
    b"".join(request(b"/%d/" % n + ID) for n in range(100)),
    answers=[answer(path=f"/{n}/@ID@") for n in range(100)],
)
pipelines.answered(
    "bodies-of-each-kind",
    FIRST + post(b"Content-Length: 3", body=b"abc") + chunked(b"2\r\nde\r\n" + END) + get(),
    answers=[*ONE, *posted("abc"), *posted("de"), answer()],
)
pipelines.answered(
    "head-first",
    request(b"/1/" + ID, method=b"HEAD") + get(),
    answers=[answer(path="/1/@ID@", method="HEAD"), answer()],
)
pipelines.answered(
    "unserved-method-first",
    request(b"/smuggled/" + ID, method=b"OPTIONS") + get(),
    answers=[*status(200, 204, 404, 405), answer()],
)
_INSIDE = smuggled("pipelines.request-as-body")
pipelines.answered(
    "request-as-body",
    post(b"Content-Length: %d" % len(_INSIDE), body=_INSIDE) + get(),
    answers=[answer(method="POST", body=None), answer()],
)
pipelines.answered(
    "closed-behind-first", request(b"/1/" + ID, CLOSE) + SMUGGLED, answers=ONE, then=Fate.CLOSED
)
BEHIND_ALLOWED = {
    **dict.fromkeys(("lf", "folded", "target-over", "headers-over", "body-over"), Leave.FULL),
    "cl-te": Leave.ONCE,
}
for _name, _bad, _statuses in (
    ("garbage", b"\x16\x03\x01garbage", (400,)),
    ("garbage-line", b"@@@\r\n\r\n", (400,)),
    ("no-version", b"GET /\r\n\r\n", (400, 505)),
    ("no-host", b"GET /" + ID + b" HTTP/1.1\r\n\r\n", (400,)),
    ("lf", get(b"X: y").replace(b"\r\n", b"\n"), (400,)),
    ("nul", get(b"X: \x00"), (400,)),
    ("space-before-colon", get(b"X : y"), (400,)),
    ("folded", get(b"X: y\r\n z"), (400,)),
    ("cl-te", post(b"Content-Length: 5", CHUNKED, body=END), (400,)),
    ("length-bad", post(b"Content-Length: -1"), (400,)),
    ("coding-bad", post(b"Transfer-Encoding: x", body=END), (400, 501)),
    ("chunk-bad", chunked(b"zz\r\n"), (400,)),
    ("version-2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
    ("target-over", request(b"/" + b"x" * LIMITS.target_bytes), (414,)),
    ("headers-over", get(*(b"X: y" for _ in range(LIMITS.headers))), (431,)),
    ("body-over", post(b"Content-Length: %d" % (LIMITS.body_bytes + 1)), (413,)),
):
    for _count in (1, 3):
        pipelines.refused(
            f"{_name}-behind-{_count}",
            FIRST * _count + _bad,
            statuses=_statuses,
            after=ONE * _count,
            rfc="RFC 9112 2.2",
            leave=BEHIND_ALLOWED.get(_name, Leave.NONE),
        )
pipelines.refused(
    "garbage-behind-a-body",
    post(b"Content-Length: 3", body=b"abc") + b"@@@\r\n\r\n",
    after=posted("abc"),
)
pipelines.refused("garbage-behind-chunks", chunked(END + b"@@@\r\n\r\n"), after=posted())
pipelines.refused(
    "garbage-later", FIRST, Pause(0.05), b"@@@\r\n\r\n", after=ONE, rfc="RFC 9112 2.2"
)
pipelines.refused(
    "response-behind",
    FIRST + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    after=ONE,
    statuses=(400, 405, 501, 505),
)
pipelines.refused(
    "cut-behind",
    FIRST + b"GET /smuggled/" + ID + b" HTT",
    after=ONE,
    statuses=(400, 408),
    fate=Fate.DROPPED,
    end=End.SHUT,
)

EXPECT = b"Expect: 100-continue"
LENGTH3 = b"Content-Length: 3"
expects.answered(
    "body-later", post(LENGTH3, EXPECT), Pause(0.05), b"abc", answers=posted("abc"), interims=(100,)
)
expects.answered(
    "chunks-later",
    chunked(b"", EXPECT),
    Pause(0.05),
    b"3\r\nabc\r\n" + END,
    answers=posted("abc"),
    interims=(100,),
)
expects.answered("body-at-once", post(LENGTH3, EXPECT, body=b"abc"), answers=posted("abc"))
expects.answered(
    "upper", post(LENGTH3, b"EXPECT: 100-CONTINUE", body=b"abc"), answers=posted("abc")
)
expects.answered("no-body", get(EXPECT), rfc="RFC 9110 10.1.1")
expects.answered("length-zero", post(b"Content-Length: 0", EXPECT), answers=posted())
expects.answered(
    "old-version",
    b"POST /"
    + ID
    + b" HTTP/1.0\r\n"
    + HOST_LINE
    + b"\r\n"
    + EXPECT
    + b"\r\n"
    + LENGTH3
    + b"\r\n\r\nabc",
    answers=posted("abc"),
    then=Fate.CLOSED,
    interims=(),
)
for _name, _lines in {
    "other": (b"Expect: 200-ok",),
    "twice": (EXPECT, EXPECT),
    "list": (b"Expect: 100-continue, x",),
    "parameter": (b"Expect: 100-continue;q=1",),
    "cut": (b"Expect: 100-continu",),
    "empty": (b"Expect:",),
    "obs-text": (b"Expect: \xe9",),
}.items():
    expects.answered(
        _name,
        post(LENGTH3, *_lines, body=b"abc"),
        answers=[Answer(frozenset({200, 400, 417}), answer(method="POST", body="abc").seen)],
        then=Fate.EITHER,
    )
expects.refused(
    "body-over",
    post(b"Content-Length: %d" % (LIMITS.body_bytes + 1), EXPECT),
    statuses=(413,),
    interims=(),
    leave=Leave.FULL,
)
expects.refused("cl-te", post(b"Content-Length: 5", CHUNKED, EXPECT), interims=(), leave=Leave.ONCE)
expects.refused("no-host", b"POST /" + ID + b" HTTP/1.1\r\n" + EXPECT + b"\r\n\r\n", interims=())

for _name, _lines in {
    "close": (CLOSE,),
    "close-upper": (b"CONNECTION: CLOSE",),
    "close-in-list": (b"Connection: close, x",),
    "close-last-in-list": (b"Connection: x,close",),
    "close-doubled": (CLOSE, CLOSE),
    "close-behind-kept": (b"Connection: keep-alive", CLOSE),
    "close-before-kept": (CLOSE, b"Connection: keep-alive"),
    "close-and-kept": (b"Connection: keep-alive, close",),
    "close-behind-commas": (b"Connection: ,, close",),
    "close-tab": (b"Connection:\tclose\t",),
}.items():
    connections.answered(_name, get(*_lines), then=Fate.CLOSED, rfc="RFC 9112 9.6")
for _name, _line in {
    "kept": b"Connection: keep-alive",
    "empty": b"Connection:",
    "commas": b"Connection: ,,,",
    "unknown": b"Connection: x",
    "almost": b"Connection: clos",
    "longer": b"Connection: closed",
    "keep-alive": b"Keep-Alive: timeout=0, max=0",
    "names-host": b"Connection: Host",
    "names-forwarded": b"Connection: X-Forwarded-For",
    "names-cookie": b"Connection: Cookie, Authorization",
    "te": b"Connection: TE\r\nTE: trailers",
    "trailer": b"Connection: Trailer\r\nTrailer: X",
    "http2-settings": b"Connection: HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk",
    "long": b"Connection: " + b"x, " * 1000 + b"x",
}.items():
    connections.answered(_name, get(_line))
connections.answered(  # no header of HTTP/1.1, but one that old clients mean so
    "proxy", get(b"Proxy-Connection: close"), then=Fate.EITHER
)
for _name, _line in {
    "names-length": b"Connection: Content-Length",
    "names-coding": b"Connection: Transfer-Encoding",
}.items():
    connections.answered(_name, post(LENGTH3, _line, body=b"abc"), answers=posted("abc"))
for _name, _line in {
    "nul": b"Connection: close\x00",
    "spaced": b"Connection : close",
    "folded": b"Connection:\r\n close",
}.items():
    connections.refused(_name, get(_line), leave=Leave.FULL if _name == "folded" else Leave.NONE)

H2C = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
SOCKET = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", KEY)
for _name, _lines in {
    "h2c": H2C,
    "h2c-alone": (b"Connection: Upgrade", b"Upgrade: h2c"),
    "tls": (b"Connection: Upgrade", b"Upgrade: TLS/1.2"),
    "unknown": (b"Connection: Upgrade", b"Upgrade: x"),
    "http-2": (b"Connection: Upgrade", b"Upgrade: HTTP/2.0"),
    "without-connection": (b"Upgrade: x",),
    "websocket-without-connection": (b"Upgrade: websocket", KEY),
    "connection-without-upgrade": (b"Connection: Upgrade",),
}.items():
    # Behind it may come what nobody here speaks, so a server may also end it.
    upgrades.answered(f"ignored-{_name}", get(*_lines), then=Fate.EITHER)
for _name, _lines in {
    "websocket": SOCKET,
    "websocket-no-key": SOCKET[:3],
    "websocket-bad-key": (*SOCKET[:3], b"Sec-WebSocket-Key: x"),
    "websocket-no-version": (SOCKET[0], SOCKET[1], KEY),
    "websocket-old-version": (*SOCKET[:2], b"Sec-WebSocket-Version: 8", KEY),
    "websocket-two-keys": (*SOCKET, KEY),
    "websocket-list": (SOCKET[0], b"Upgrade: websocket, h2c", *SOCKET[2:]),
    "websocket-twice": (*SOCKET, b"Upgrade: websocket"),
    "websocket-and-h2c": (*SOCKET, b"Upgrade: h2c"),
    "empty": (b"Connection: Upgrade", b"Upgrade:"),
}.items():
    upgrades.answered(  # no handler takes one here, so what follows is HTTP, or nothing
        f"nowhere-{_name}", get(*_lines), answers=status(200, 400, 404, 426), then=Fate.EITHER
    )
upgrades.answered(
    "old-version",
    b"\r\n".join((b"GET /" + ID + b" HTTP/1.0", HOST_LINE, *SOCKET, b"", b"")),
    answers=status(200, 400),
    then=Fate.CLOSED,
)
for _name, _lines in {
    "h2c": H2C,
    "websocket": SOCKET,
    "unknown": (*H2C[:1], b"Upgrade: x"),
}.items():
    for _method in (b"GET", b"POST"):
        _kind = f"{_name}-{_method.decode().lower()}"
        _path = b"/" + ID
        _inside = smuggled(f"upgrades.request-as-body-{_kind}")
        upgrades.refused(
            f"body-{_kind}",
            request(_path, *_lines, LENGTH3, method=_method, body=b"abc"),
            leave=Leave.FULL,
        )
        upgrades.refused(
            f"chunks-{_kind}",
            request(_path, *_lines, CHUNKED, method=_method, body=b"3\r\nabc\r\n" + END),
            leave=Leave.FULL,
        )
        upgrades.refused(
            f"request-as-body-{_kind}",
            request(
                _path,
                *_lines,
                b"Content-Length: %d" % len(_inside),
                method=_method,
                body=_inside,
            ),
            leave=Leave.FULL,
        )

for _name, _lines in {
    "forwarded-for-doubled": (b"X-Forwarded-For: 1.2.3.4", b"X-Forwarded-For: 127.0.0.1"),
    "forwarded-for-list": (b"X-Forwarded-For: 127.0.0.1, , x, 1.2.3.4",),
    "forwarded-for-bad": (b"X-Forwarded-For: ::::1'\";--",),
    "forwarded-host": (b"X-Forwarded-Host: b.example",),
    "forwarded-host-doubled": (b"X-Forwarded-Host: a.example", b"X-Forwarded-Host: b.example"),
    "forwarded-proto": (b"X-Forwarded-Proto: ftp",),
    "forwarded-port": (b"X-Forwarded-Port: 99999",),
    "forwarded-prefix": (b"X-Forwarded-Prefix: /smuggled",),
    "forwarded": (b"Forwarded: for=127.0.0.1;host=b.example;proto=ftp",),
    "forwarded-bad": (b'Forwarded: for="[::1',),
    "via-doubled": (b"Via: 1.1 a", b"Via: HTTP/9.9 b"),
    "original-url": (b"X-Original-URL: /smuggled/" + ID, b"X-Rewrite-URL: /smuggled/" + ID),
    "method-override": (b"X-HTTP-Method-Override: DELETE", b"X-Method-Override: DELETE"),
    "httpoxy": (b"Proxy: http://b.example/",),
    "max-forwards": (b"Max-Forwards: 0",),
    "max-forwards-bad": (b"Max-Forwards: -1",),
    "cache-control-doubled": (b"Cache-Control: no-cache", b"Cache-Control: max-age=-1"),
    "if-none-match": (b'If-None-Match: *, "a", W/"b', b"If-None-Match: x"),
    "if-modified-since": (b"If-Modified-Since: yesterday", b"If-Modified-Since: 0"),
    "ranges-many": (b"Range: bytes=" + b"0-," * 1000 + b"0-",),
    "range-bad": (b"Range: bytes=9-1", b"Range: lines=1-2"),
    "cookies": (b"Cookie: a=b", b"Cookie: a=c"),
    "cookie-bad": (b'Cookie: =;;a="b;\xff',),
    "accept-bad": (b"Accept: ,;q=9,*/", b"Accept-Encoding: *;q=x, gzip;q=-1"),
    "content-encoding": (b"Content-Encoding: gzip",),
    "traceparent-bad": (b"traceparent: 00-0-0-zz", b"tracestate: =,=,="),
    "age": (b"Age: -1", b"Warning: x", b"Pragma: x"),
    "te": (b"TE: gzip;q=x, trailers",),
}.items():
    proxies.answered(_name, get(*_lines))
for _name, _lines in {
    "authorization-doubled": (b"Authorization: Bearer a", b"Authorization: Bearer b"),
    "content-type-doubled": (b"Content-Type: text/plain", b"Content-Type: text/html"),
    "origin-doubled": (b"Origin: http://a.example", b"Origin: null"),
}.items():
    proxies.answered(_name, get(*_lines), answers=status(400), then=Fate.EITHER, rfc="RFC 9110 5.3")
proxies.refused("protocol-v1", b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n" + get())
proxies.refused("protocol-v1-unknown", b"PROXY UNKNOWN\r\n" + get())
proxies.refused(
    "protocol-v2",
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x11" + struct.pack("!H4s4sHH", 12, b"1234", b"1234", 1, 2) + get(),
)

HELLO = (
    bytes.fromhex("160301003c0100003803037e")
    + b"\xa5" * 31
    + bytes.fromhex("00000c130113021303c02fc030009c01000003000000")
)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
for _name, _bytes in {
    "tls-hello": HELLO,
    "tls-alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "ssl-2": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
    "dtls": b"\x16\xfe\xff\x00\x00",
    "http-2": PREFACE,
    "http-2-settings": PREFACE + bytes.fromhex("000000040000000000"),
    "http-2-with-host": b"PRI * HTTP/2.0\r\n" + HOST_LINE + b"\r\n\r\nSM\r\n\r\n",
    "http-2-method-only": b"PRI * HTTP/1.1\r\n" + HOST_LINE + b"\r\n\r\nSM\r\n\r\n",
    "http-2-frame": bytes.fromhex("00000401000000000182868441"),
    "quic": b"\xc3\x00\x00\x00\x01\x08" + b"\x55" * 32,
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "smtp": b"EHLO a.example\r\nMAIL FROM:<a@a.example>\r\n",
    "smtp-helo": b"HELO a.example\r\n",
    "ftp": b"USER anonymous\r\nPASS x\r\n",
    "pop3": b"APOP a b\r\n",
    "imap": b"a1 LOGIN a b\r\n",
    "irc": b"NICK a\r\nUSER a 0 * :a\r\n",
    "nntp": b"MODE READER\r\n",
    "redis": b"*1\r\n$4\r\nPING\r\n",
    "redis-inline": b"PING\r\n",
    "redis-quit": b"QUIT\r\n",
    "memcached": b"stats\r\n",
    "memcached-get": b"get a\r\n",
    "memcached-binary": b"\x80\x0b" + b"\x00" * 22,
    "postgres": struct.pack("!II", 8, 80877103),
    "postgres-start": struct.pack("!II", 16, 196608) + b"user\x00a\x00\x00",
    "mysql": b"\x20\x00\x00\x01\x85\xa6\x03\x00",
    "mongo": struct.pack("<IIII", 16, 1, 0, 2013),
    "kafka": struct.pack("!IHHI", 12, 18, 0, 1) + b"\x00\x01a",
    "cassandra": b"\x04\x00\x00\x00\x05\x00\x00\x00\x00",
    "zookeeper": b"ruok",
    "nats": b"CONNECT {}\r\nPING\r\n",
    "stomp": b"CONNECT\naccept-version:1.2\n\n\x00",
    "amqp": b"AMQP\x00\x00\x09\x01",
    "mqtt": b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00",
    "sip": b"OPTIONS sip:a@a.example SIP/2.0\r\n\r\n",
    "rtsp": b"DESCRIBE rtsp://a.example/a RTSP/1.0\r\nCSeq: 1\r\n\r\n",
    "icap": b"REQMOD icap://a.example/a ICAP/1.0\r\n" + HOST_LINE + b"\r\n\r\n",
    "xmpp": b"<?xml version='1.0'?><stream:stream>",
    "ldap": b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00",
    "smb": b"\x00\x00\x00\x2f\xffSMB",
    "rdp": b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01",
    "vnc": b"RFB 003.008\n",
    "socks-4": b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00",
    "socks-5": b"\x05\x01\x00",
    "dns": b"\x00\x1d\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00",
    "bittorrent": b"\x13BitTorrent protocol",
    "git": b"0032git-upload-pack /a\x00host=a.example\x00",
    "gopher": b"/selector\r\n",
    "finger": b"/W root\r\n",
    "rpc": b"\x80\x00\x00\x28\x72\xfe\x1d\x13",
    "java": b"\xac\xed\x00\x05",
    "fastcgi": b"\x01\x01\x00\x01\x00\x08\x00\x00",
    "ajp": b"\x12\x34\x00\x01\x0a",
    "uwsgi": b"\x00\x00\x00\x00",
    "websocket-frame": b"\x81\x85\x00\x00\x00\x00hello",
    "json": b'{"jsonrpc":"2.0","method":"x"}\n',
    "utf-16": "GET / HTTP/1.1\r\n\r\n".encode("utf-16"),
    "ebcdic": bytes.fromhex("c7c5e34061") + b" HTTP/1.1\r\n\r\n",
    "zeros": b"\x00" * 64,
    "ones": b"\xff" * 64,
    "shell": b"() { :; }; echo\r\n",
    "response": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "status-500": b"HTTP/1.0 500 \r\n\r\n",
}.items():
    foreign.refused(_name, _bytes, statuses=(400, 405, 501, 505), fate=Fate.DROPPED)
foreign.refused("noise", Drip(bytes(range(256)) * 16, 256), fate=Fate.DROPPED)
GROUPS = (pipelines, expects, connections, upgrades, proxies, foreign)
