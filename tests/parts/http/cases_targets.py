"""What a request is for: the four forms of a target, and Host (RFC 9112, 3.2)."""

from tests.parts.http.corpus import (
    HOST,
    ID,
    Answer,
    Fate,
    Group,
    Leave,
    Seen,
    answer,
    request,
    status,
)

TUNNEL = (400, 405, 501)

targets = Group("targets", "RFC 9112 3.2")
paths = Group("paths", "RFC 3986 3.3")
hosts = Group("hosts", "RFC 9112 3.2")


def hosted(target: bytes, *lines: bytes, method: bytes = b"GET") -> bytes:
    """A request with these header lines alone."""
    return b"\r\n".join((method + b" " + target + b" HTTP/1.1", *lines, b"", b""))


def host(value: bytes) -> bytes:
    return b"Host: " + value


A = HOST.encode()
ABSOLUTE = b"http://" + A + b"/" + ID

targets.answered("absolute", request(ABSOLUTE), rfc="RFC 9112 3.2.2")
targets.answered("absolute-https", request(b"https://" + A + b"/" + ID), rfc="RFC 9112 3.2.2")
targets.answered(
    "absolute-port",
    hosted(b"http://a.example:8080/" + ID, host(b"a.example:8080")),
    answers=[answer(host="a.example:8080")],
)
targets.answered("absolute-query", request(ABSOLUTE + b"?a=http://b.example/"))
targets.answered(
    "absolute-ipv6",
    hosted(b"http://[::1]:80/" + ID, host(b"[::1]:80")),
    answers=[answer(host="[::1]:80")],
)
for _name, _target, _host in (  # equal to who normalises; a reader may also compare the bytes
    ("scheme-upper", b"HTTP://a.example/" + ID, A),
    ("host-upper", b"http://A.EXAMPLE/" + ID, A),
    ("host-header-upper", b"http://a.example/" + ID, b"A.EXAMPLE"),
    ("default-port", b"http://a.example:80/" + ID, A),
    ("default-port-header", b"http://a.example/" + ID, b"a.example:80"),
    ("empty-port", b"http://a.example:/" + ID, b"a.example"),
    ("no-path", b"http://a.example", A),
    ("no-path-query", b"http://a.example?a=b", A),
):
    targets.answered(
        f"absolute-{_name}",
        hosted(_target, host(_host)),
        answers=status(200, 400),
        then=Fate.EITHER,
        rfc="RFC 9110 4.2.3",
    )
targets.answered(
    "absolute-old-version",
    b"GET " + ABSOLUTE + b" HTTP/1.0\r\n\r\n",
    answers=status(200, 400),
    then=Fate.CLOSED,
)
for _name, _target, _host in (  # RFC 9112 3.2.2: the target wins
    ("other-host", b"http://b.example/" + ID, A),
    ("other-port", b"http://a.example:81/" + ID, A),
    ("other-port-header", b"http://a.example/" + ID, b"a.example:81"),
    ("host-longer", b"http://a.example.b.example/" + ID, A),
    ("host-header-empty", ABSOLUTE, b""),
):
    targets.refused(
        f"absolute-{_name}",
        hosted(_target, host(_host)),
        leave=Leave.FULL,
        rfc="RFC 9112 3.2.2",
    )
# An absolute-URI by its grammar, of which no rule forbids a server to take it.
ABSOLUTE_ALLOWED = {
    *("user", "user-as-host", "password", "port-over", "percent", "two-hosts", "ftp", "ws", "file"),
    *("gopher", "javascript", "data", "mailto", "unix"),
}
targets.refused("absolute-no-host-header", hosted(ABSOLUTE))
targets.refused("absolute-hosts-differ", hosted(ABSOLUTE, host(A), host(b"b.example")))
for _name, _target in {
    "user": b"http://user@a.example/" + ID,
    "user-as-host": b"http://a.example@b.example/" + ID,
    "password": b"http://user:pass@a.example/" + ID,
    "no-host": b"http:///" + ID,
    "no-host-port": b"http://:80/" + ID,
    "no-slashes": b"http:a.example/" + ID,
    "one-slash": b"http:/a.example/" + ID,
    "three-slashes": b"http:///a.example/" + ID,
    "scheme-alone": b"http:",
    "scheme-and-slashes": b"http://",
    "fragment": ABSOLUTE + b"#x",
    "backslash": b"http://a.example\\@b.example/" + ID,
    "backslashes": b"http:\\\\a.example\\" + ID,
    "port-word": b"http://a.example:x/" + ID,
    "port-over": b"http://a.example:65536/" + ID,
    "port-minus": b"http://a.example:-80/" + ID,
    "ipv6-open": b"http://[::1/" + ID,
    "space": b"http://a.example /" + ID,
    "percent": b"http://a.exampl%65/" + ID,
    "two-hosts": b"http://a.example,b.example/" + ID,
    "ftp": b"ftp://a.example/" + ID,
    "ws": b"ws://a.example/" + ID,
    "file": b"file:///" + ID,
    "gopher": b"gopher://a.example/" + ID,
    "javascript": b"javascript:alert(1)",
    "data": b"data:text/plain,x",
    "mailto": b"mailto:a@a.example",
    "no-scheme": b"://a.example/" + ID,
    "scheme-number": b"1http://a.example/" + ID,
    "scheme-spaced": b"ht\ttp://a.example/" + ID,
    "unix": b"http+unix://a.example/" + ID,
}.items():
    targets.refused(
        f"absolute-{_name}",
        request(_target),
        rfc="RFC 9110 4.2",
        leave=Leave.FULL if _name in ABSOLUTE_ALLOWED else Leave.NONE,
    )

for _name, _target in {
    "port": b"a.example:443",
    "no-port": b"a.example",
    "ipv6": b"[::1]:443",
    "port-over": b"a.example:65536",
    "no-host": b":443",
    "path": b"/" + ID,
    "absolute": b"http://a.example/" + ID,
    "star": b"*",
    "user": b"user@a.example:443",
}.items():
    targets.answered(
        f"connect-{_name}",
        request(_target, method=b"CONNECT"),
        answers=status(*TUNNEL),
        then=Fate.EITHER,
        rfc="RFC 9110 9.3.6",
    )
targets.answered(
    "connect-host-differs",
    hosted(b"b.example:443", host(A), method=b"CONNECT"),
    answers=status(*TUNNEL),
    then=Fate.EITHER,
    rfc="RFC 9110 9.3.6",
)
for _name, _target in {
    "port": b"a.example:80",
    "no-port": b"a.example",
    "ipv6": b"[::1]:80",
    "number": b"80",
}.items():
    for _method in (b"GET", b"POST", b"OPTIONS"):
        targets.refused(
            f"authority-{_name}-{_method.decode().lower()}",
            request(_target, method=_method),
            rfc="RFC 9112 3.2.3",
        )

targets.answered(
    "star", request(b"*", method=b"OPTIONS"), answers=status(200, 204), rfc="RFC 9112 3.2.4"
)
for _method in (b"GET", b"HEAD", b"POST", b"DELETE"):
    targets.refused(
        f"star-{_method.decode().lower()}",
        request(b"*", method=_method),
        statuses=(400, 405, 501),
        rfc="RFC 9112 3.2.4",
    )
for _name, _target in {
    "path": b"*/" + ID,
    "twice": b"**",
    "query": b"*?a=b",
    "fragment": b"*#x",
    "escaped": b"%2a",
}.items():
    targets.refused(f"star-{_name}", request(_target, method=b"OPTIONS"), rfc="RFC 9112 3.2.4")

for _name, _target in {
    "no-slash": ID,
    "dot": b"./" + ID,
    "dots": b"../" + ID,
    "query-alone": b"?a=b",
    "fragment-alone": b"#x",
    "backslash": b"\\" + ID,
    "backslashes": b"\\\\a.example\\" + ID,
    "semicolon": b";" + ID,
    "tilde": b"~/" + ID,
    "percent": b"%2f" + ID,
    "quoted": b'"/' + ID + b'"',
    "brackets": b"</" + ID + b">",
    "fragment": b"/" + ID + b"#x",
    "fragment-empty": b"/" + ID + b"#",
    "fragment-behind-query": b"/" + ID + b"?a=b#x",
    "fragment-before-query": b"/#x?/" + ID,
}.items():
    paths.refused(_name, request(_target), rfc="RFC 9112 3.2.1")
for _name, _target, _path in (
    ("extension", b"/a.b/" + ID, "/a.b/@ID@"),
    ("query", b"/" + ID + b"?a=b&c=d", "/@ID@"),
    ("query-empty", b"/" + ID + b"?", "/@ID@"),
    ("query-questions", b"/" + ID + b"?a=?b?", "/@ID@"),
    ("query-slashes", b"/" + ID + b"?a=/../smuggled", "/@ID@"),
    ("escaped-letter", b"/%61/" + ID, "/a/@ID@"),
    ("escaped-lower", b"/%c3%a9/" + ID, "/é/@ID@"),
    ("escaped-upper", b"/%C3%A9/" + ID, "/é/@ID@"),
    ("escaped-percent", b"/%2561/" + ID, "/%61/@ID@"),
    ("escaped-space", b"/a%20b/" + ID, "/a b/@ID@"),
    ("plus", b"/a+b/" + ID, "/a+b/@ID@"),
    ("delimiters", b"/!$&'()*,;=:@/" + ID, "/!$&'()*,;=:@/@ID@"),
):
    paths.answered(f"good-{_name}", request(_target), answers=[answer(path=_path)])
for _name, _target in {
    "percent-alone": b"/%/" + ID,
    "percent-one-digit": b"/%2",
    "percent-no-hex": b"/%zz/" + ID,
    "percent-half-hex": b"/%2g/" + ID,
    "percent-u": b"/%u0041/" + ID,
    "percent-percent": b"/%%41/" + ID,
    "nul": b"/%00/" + ID,
    "nul-behind": b"/x.html%00.png",
    "latin-1": b"/%e9/" + ID,
    "overlong": b"/%c0%af/" + ID,
    "overlong-dots": b"/%c0%ae%c0%ae/" + ID,
    "surrogate": b"/%ed%a0%80/" + ID,
    "above-unicode": b"/%f4%90%80%80/" + ID,
    "utf-8-cut": b"/%e2%82/" + ID,
    "0xff": b"/%ff/" + ID,
}.items():
    paths.answered(
        f"bad-{_name}",
        request(_target),
        answers=status(400, 404),
        then=Fate.EITHER,
        rfc="RFC 3986 2.1",
    )
for _name, _target in {  # each is one path, which may be refused, found, or not found
    "two-slashes": b"//a.example/" + ID,
    "three-slashes": b"///" + ID,
    "slashes-inside": b"/a//b",
    "dots": b"/../" + ID,
    "dots-many": b"/../../../../etc/passwd",
    "dot": b"/./" + ID,
    "dots-inside": b"/a/../b",
    "dots-escaped": b"/%2e%2e/b",
    "dots-double-escaped": b"/%252e%252e/b",
    "dots-semicolon": b"/..;/b",
    "slash-escaped": b"/a%2fb",
    "backslash": b"/a\\b",
    "backslash-dots": b"/..\\..\\b",
    "backslash-escaped": b"/a%5cb",
    "line-end-escaped": b"/a%0d%0aX:%20y",
    "bell-escaped": b"/%07",
    "del-escaped": b"/%7f",
    "nel-escaped": b"/%c2%85",
    "bidi-escaped": b"/%e2%80%ae",
    "absolute-inside": b"/http://b.example/",
    "quote": b'/a"b',
    "less": b"/a<b",
    "greater": b"/a>b",
    "caret": b"/a^b",
    "grave": b"/a`b",
    "brace": b"/a{b}",
    "bar": b"/a|b",
    "bracket": b"/a[b]",
    "query-percent": b"/?a=%",
    "query-nul": b"/?a=%00",
    "query-latin-1": b"/?a=%e9",
    "query-many": b"/?" + b"&".join(b"a%d=b" % n for n in range(1000)),
}.items():
    paths.answered(
        f"any-{_name}", request(_target), answers=status(200, 400, 404), then=Fate.EITHER
    )

hosts.refused("none", hosted(b"/" + ID))
hosts.refused("none-but-others", hosted(b"/" + ID, b"X: y", b"Accept: */*"))
hosts.refused("none-but-forwarded", hosted(b"/" + ID, b"X-Forwarded-Host: a.example"))
hosts.refused("none-but-pseudo", hosted(b"/" + ID, b":authority: a.example"))
hosts.refused("none-but-underscore", hosted(b"/" + ID, b"Host_: a.example"))
hosts.refused("none-but-origin", hosted(b"/" + ID, b"Origin: http://a.example"))
hosts.refused("none-on-star", hosted(b"*", method=b"OPTIONS"))
hosts.refused("empty", hosted(b"/" + ID, b"Host:"), leave=Leave.FULL)
hosts.refused("blank", hosted(b"/" + ID, b"Host:    "), leave=Leave.FULL)
for _name, _lines in {
    "equal": (host(A), host(A)),
    "different": (host(A), host(b"b.example")),
    "case": (host(A), host(b"A.EXAMPLE")),
    "name-case": (host(A), b"HOST: a.example"),
    "one-empty": (host(A), b"Host:"),
    "first-empty": (b"Host:", host(A)),
    "apart": (host(A), b"X: y", b"X: z", host(b"b.example")),
    "thrice": (host(A), host(A), host(A)),
    "folded": (host(A), b"X: y", b" Host: b.example"),
}.items():
    hosts.refused(f"doubled-{_name}", hosted(b"/" + ID, *_lines))
hosts.refused(
    "doubled-old-version",
    b"GET /" + ID + b" HTTP/1.0\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
)
# By its grammar a port is any number of digits, and a name may have commas or be empty.
HOSTS_ALLOWED = {
    *("list-no-space", "port-over", "port-overflow", "port-long", "port-alone", "colon"),
}
for _name, _value in {
    "list": b"a.example, b.example",
    "list-no-space": b"a.example,b.example",
    "space-inside": b"a.example b.example",
    "tab-inside": b"a.example\tb",
    "user": b"user@a.example",
    "user-password": b"user:pass@a.example",
    "at": b"@a.example",
    "path": b"a.example/x",
    "slash": b"a.example/",
    "query": b"a.example?x",
    "fragment": b"a.example#x",
    "scheme": b"http://a.example",
    "slashes": b"//a.example",
    "backslash": b"a.example\\x",
    "port-word": b"a.example:http",
    "port-minus": b"a.example:-1",
    "port-plus": b"a.example:+80",
    "port-hex": b"a.example:0x50",
    "port-underscore": b"a.example:8_0",
    "port-over": b"a.example:65536",
    "port-overflow": b"a.example:4294967376",
    "port-long": b"a.example:" + b"9" * 100,
    "port-space-before": b"a.example: 80",
    "port-space-behind": b"a.example :80",
    "port-twice": b"a.example:80:80",
    "port-wide": "a.example:\uff18\uff10".encode(),
    "port-path": b"a.example:80/x",
    "port-alone": b":80",
    "colon": b":",
    "ipv6-open": b"[::1",
    "ipv6-closed": b"::1]",
    "ipv6-bare": b"::1",
    "ipv6-bare-port": b"::1:80",
    "ipv6-empty": b"[]",
    "ipv6-letters": b"[g::1]",
    "ipv6-two-gaps": b"[1::2::3]",
    "ipv6-colons": b"[:::1]",
    "ipv6-nine": b"[1:2:3:4:5:6:7:8:9]",
    "ipv6-seven": b"[1:2:3:4:5:6:7]",
    "ipv6-behind": b"[::1]x",
    "ipv6-before": b"x[::1]",
    "ipv6-twice": b"[[::1]]",
    "ipv6-port-word": b"[::1]:x",
    "ipv6-ipv4": b"[127.0.0.1]",
    "name-in-brackets": b"[a.example]",
    "quote": b'a"b.example',
    "less": b"<a.example>",
    "caret": b"a^b.example",
    "bar": b"a|b.example",
    "brace": b"{a.example}",
    "grave": b"`id`",
    "percent": b"a%.example",
    "percent-no-hex": b"a%zz.example",
    "nul": b"a\x00.example",
    "nul-behind": b"a.example\x00",
    "cr": b"a.example\rb",
    "vt": b"a.example\x0b",
    "del": b"a\x7f.example",
    "high": b"\xe9.example",
    "utf-8": "é.example".encode(),
    "wide-dot": "a\u3002example".encode(),
}.items():
    hosts.refused(
        _name,
        hosted(b"/" + ID, host(_value)),
        rfc="RFC 9110 7.2",
        leave=Leave.FULL if _name in HOSTS_ALLOWED else Leave.NONE,
    )
for _name, _line in {
    "space": b"Host : a.example",
    "tab": b"Host\t: a.example",
    "nul": b"Host\x00: a.example",
    "before-space": b" Host: a.example",
    "before-vt": b"\x0bHost: a.example",
    "semicolon": b"Host; a.example",
    "no-colon": b"Host a.example",
    "folded": b"Host:\r\n a.example",
    "long-s": "Ho\u017ft: a.example".encode(),
}.items():
    hosts.refused(f"name-{_name}", hosted(b"/" + ID, _line), rfc="RFC 9112 5.1")
for _name, _value, _seen in (
    ("plain", A, "a.example"),
    ("port", b"a.example:8080", "a.example:8080"),
    ("spaces", b"   a.example  ", "a.example"),
    ("tabs", b"\ta.example\t", "a.example"),
    ("underscore", b"a_b.example", "a_b.example"),
    ("dash", b"a-b.example", "a-b.example"),
    ("digit", b"1.example", "1.example"),
    ("one-label", b"localhost", "localhost"),
    ("ipv4", b"127.0.0.1", "127.0.0.1"),
    ("ipv6", b"[::1]", "[::1]"),
    ("ipv6-port", b"[::1]:80", "[::1]:80"),
    ("ipv6-full", b"[1:2:3:4:5:6:7:8]", "[1:2:3:4:5:6:7:8]"),
    ("ipv6-mapped", b"[::ffff:127.0.0.1]", "[::ffff:127.0.0.1]"),
    ("port-most", b"a.example:65535", "a.example:65535"),
):
    hosts.answered(f"good-{_name}", hosted(b"/" + ID, host(_value)), answers=[answer(host=_seen)])
for _name, _value in {  # allowed by the grammar, of no use to anybody
    "dot-behind": b"a.example.",
    "dot-before": b".a.example",
    "dots": b"a..example",
    "dash-before": b"-a.example",
    "star": b"*",
    "apostrophe": b"a'b.example",
    "semicolon": b"a;b.example",
    "percent": b"%61.example",
    "port-empty": b"a.example:",
    "port-zero": b"a.example:0",
    "port-zeros": b"a.example:00080",
    "ipv4-short": b"127.1",
    "ipv4-over": b"999.999.999.999",
    "ipv4-hex": b"0x7f.0.0.1",
    "ipv4-number": b"2130706433",
    "ipv6-zone": b"[fe80::1%25eth0]",
    "ipv-future": b"[v1.x]",
    "long": b"a" * 300 + b".example",
    "very-long": b"a" * 10_000,
}.items():
    hosts.answered(
        f"any-{_name}",
        hosted(b"/" + ID, host(_value)),
        answers=status(200, 400),
        then=Fate.EITHER,
        rfc="RFC 3986 3.2.2",
    )
hosts.answered("name-upper", hosted(b"/" + ID, b"HOST: a.example"))
hosts.answered("name-lower", hosted(b"/" + ID, b"host:a.example"))
hosts.answered("last", hosted(b"/" + ID, b"X: y", b"Y: z", host(A)))
hosts.answered(
    "value-upper",
    hosted(b"/" + ID, host(b"A.Example")),
    answers=[Answer(frozenset({200}), Seen(path="/@ID@", host="A.Example"))],
)
GROUPS = (targets, paths, hosts)
