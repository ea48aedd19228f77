"""Replies on the wire: conditions, codings, heads. Sections are those of RFC 9110."""

import asyncio
import gzip
import sys
import zlib

import pytest

from bastide.base.gate import anyone
from bastide.base.routes.rows import Reply, Request, Stream, json_reply, route
from bastide.parts.http import replies
from bastide.parts.http.heads import HeadBroken
from bastide.parts.http.replies import CODINGS, PACK_AT_ONCE_BYTES_MAX, PACK_BYTES_MIN
from tests.parts.http.server_kit import CLOSE, eventually, get, serving

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = "text/plain; charset=utf-8"
UNPACK = {"gzip": gzip.decompress, "zstd": zstd.decompress}


def replying(reply, *, method="GET", path="/"):
    """A door that waits for nothing, so that it is answered by a call."""

    def handle(_: object) -> Reply:
        return reply

    return route(method, path, handle, allow=anyone)


def waiting(reply, *, method="GET", path="/"):
    async def handle(_: object) -> Reply:
        await asyncio.sleep(0)
        return reply

    return route(method, path, handle, allow=anyone)


DOORS = pytest.mark.parametrize("door", [replying, waiting])


def text(count, **headers):
    body = (b"all that is text gets smaller. " * (count // 30 + 1))[:count]
    return Reply(200, body, {"content-type": TEXT, **headers})


async def asked(reply, *headers, door=replying, method="GET"):
    """Status, headers, body; and that the connection goes on behind them."""
    async with serving(door(reply)) as town, await town.raw() as raw:
        raw.say(get("/", *headers, method=method))
        answer = await raw.answer(has_body=method != "HEAD")
        raw.say(get("/"))
        status, *_ = await raw.answer()
        assert status == reply.status
        return answer


# Conditions


@DOORS
@pytest.mark.parametrize("tag", ['"a"', 'W/"a"', '"b", "a"', "*"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_the_client_has_is_not_sent_again(door, tag, method) -> None:
    reply = json_reply([1], headers={"etag": '"a"', "cache-control": "private", "vary": "cookie"})
    status, headers, body = await asked(reply, f"if-none-match: {tag}", door=door, method=method)
    assert (status, body) == (304, b"")
    # "The server generating a 304 response MUST generate any of the following header fields that
    # would have been sent in a 200 (OK) response" (15.4.5)
    assert (headers["etag"], headers["vary"]) == (['"a"'], ["cookie"])
    assert headers["cache-control"] == ["private"]
    assert headers.keys().isdisjoint(("content-length", "content-type", "transfer-encoding"))


@DOORS
async def test_what_the_client_has_not_is_sent(door) -> None:
    reply = json_reply([1], headers={"etag": '"a"'})
    status, headers, body = await asked(reply, 'if-none-match: "b"', door=door)
    assert (status, headers["etag"], body) == (200, ['"a"'], b"[1]")


async def test_a_version_that_is_gone_is_not_what_was_asked_for() -> None:
    reply = json_reply([1], headers={"etag": '"a"'})
    status, headers, body = await asked(reply, 'if-match: "b"')
    assert (status, body, headers["content-length"]) == (412, b"", ["0"])
    assert "content-type" not in headers
    status, *_ = await asked(reply, 'if-match: "a"')
    assert status == 200


@pytest.mark.parametrize("condition", ['if-match: "old"', 'if-none-match: "new"'])
async def test_what_has_been_written_is_not_judged_by_its_new_tag(condition) -> None:
    async with (
        serving(replying(Reply(200, b"done", {"etag": '"new"'}), method="PUT")) as town,
        await town.raw(get("/", condition, "content-length: 0", method="PUT")) as raw,
    ):
        status, _, body = await raw.answer()
        assert (status, body) == (200, b"done"), "a server that fails now would be lying"


async def test_conditions_on_what_is_no_success_are_ignored() -> None:
    # "MUST ignore all received preconditions if its response to the same request without those
    # conditions ... would have been a status code other than a 2xx" (13.2.1)
    reply = Reply(404, b"no", {"etag": '"a"'})
    status, _, body = await asked(reply, 'if-none-match: "a"')
    assert (status, body) == (404, b"no")


async def test_a_packed_reply_is_known_again_by_the_tag_that_it_had() -> None:
    reply = text(5_000, etag='"a"')
    accept = "accept-encoding: gzip"
    _, sent, _ = await asked(reply, accept)
    assert sent["etag"] == ['W/"a"'], "other bytes for other clients"
    status, headers, _ = await asked(reply, accept, f"if-none-match: {sent['etag'][0]}")
    assert (status, headers["etag"], headers["vary"]) == (304, ['W/"a"'], ["accept-encoding"])


async def test_a_tag_that_is_weak_stays_so() -> None:
    _, headers, _ = await asked(text(5_000, etag='W/"a"'), "accept-encoding: gzip")
    assert headers["etag"] == ['W/"a"']


# Codings


@DOORS
@pytest.mark.parametrize("coding", CODINGS)
async def test_what_is_text_is_packed_for_who_takes_it(door, coding) -> None:
    reply = text(10_000)
    status, headers, body = await asked(reply, f"accept-encoding: {coding}", door=door)
    assert (status, headers["content-encoding"]) == (200, [coding])
    assert headers["vary"] == ["accept-encoding"]
    assert headers["content-length"] == [str(len(body))]
    assert len(body) < 1_000
    assert UNPACK[coding](body) == reply.body


async def test_browsers_get_zstd_before_gzip() -> None:
    _, headers, _ = await asked(text(10_000), "accept-encoding: gzip, deflate, br, zstd")
    assert headers["content-encoding"] == ["zstd"]


@pytest.mark.parametrize(("count", "packed"), [(PACK_BYTES_MIN - 1, False), (PACK_BYTES_MIN, True)])
async def test_what_is_small_is_not_packed(count, packed) -> None:
    reply = text(count)
    _, headers, body = await asked(reply, "accept-encoding: gzip")
    assert ("content-encoding" in headers, "vary" in headers) == (packed, packed)
    assert (gzip.decompress(body) if packed else body) == reply.body


async def test_small_or_not_is_the_same_with_a_tag() -> None:
    _, headers, _ = await asked(text(PACK_BYTES_MIN - 1, etag='"a"'), "accept-encoding: gzip")
    assert headers.keys().isdisjoint(("content-encoding", "vary"))
    assert headers["etag"] == ['"a"']


@pytest.mark.parametrize("accept", ["identity", "gzip;q=0", "br", ""])
async def test_who_takes_no_coding_of_ours_gets_it_as_it_is_and_caches_are_told(accept) -> None:
    reply = text(10_000, etag='"a"', vary="cookie")
    _, headers, body = await asked(reply, f"accept-encoding: {accept}")
    assert body == reply.body
    assert "content-encoding" not in headers
    assert (headers["etag"], headers["vary"]) == (['"a"'], ["cookie, accept-encoding"])


@pytest.mark.parametrize(
    "reply",
    [
        text(10_000, **{"content-encoding": "br"}),
        text(10_000, **{"cache-control": "private, no-transform"}),
        Reply(200, b"a" * 10_000, {"content-type": "image/png"}),
        Reply(200, b"a" * 10_000),
        Reply(206, b"a" * 10_000, {"content-type": TEXT, "content-range": "bytes 0-9999/20000"}),
    ],
    ids=["packed already", "not to be transformed", "an image", "of no type", "a part"],
)
async def test_what_must_not_be_packed_is_not(reply) -> None:
    status, headers, body = await asked(reply, "accept-encoding: gzip, zstd")
    assert (status, body) == (reply.status, reply.body)
    assert headers.get("content-encoding", [None])[0] == reply.headers.get("content-encoding")
    assert "vary" not in headers


@pytest.mark.parametrize("status", [201, 404, 500])
async def test_any_status_with_a_body_is_packed(status) -> None:
    reply = Reply(status, text(5_000).body, {"content-type": TEXT})
    found, headers, body = await asked(reply, "accept-encoding: gzip")
    assert (found, headers["content-encoding"]) == (status, ["gzip"])
    assert gzip.decompress(body) == reply.body


@pytest.mark.parametrize("over", [0, 1])
async def test_what_is_large_is_packed_off_the_loop(over, monkeypatch) -> None:
    """Held open by a packer that waits: other clients are served meanwhile, or not."""
    reply = text(PACK_AT_ONCE_BYTES_MAX + over)
    loop, threads = asyncio.get_running_loop(), []

    def pack(data: bytes, *_: object, **__: object) -> bytes:
        try:
            threads.append(asyncio.get_running_loop() is loop)
        except RuntimeError:
            threads.append(False)
        return zlib.compress(data, wbits=31)

    monkeypatch.setattr(replies.gzip, "compress", pack)
    _, _, body = await asked(reply, "accept-encoding: gzip")
    assert gzip.decompress(body) == reply.body
    assert threads == [not over]


async def test_a_large_reply_is_packed_whole() -> None:
    reply = text(3_000_000)
    _, headers, body = await asked(reply, "accept-encoding: zstd")
    assert headers["content-length"] == [str(len(body))]
    assert zstd.decompress(body) == reply.body


async def test_replies_behind_a_packed_one_keep_their_order() -> None:
    rows = [replying(text(200_000), path="/large"), replying(Reply(200, b"small"), path="/small")]
    accept = "accept-encoding: gzip"
    async with serving(*rows) as town, await town.raw() as raw:
        raw.say(get("/large", accept) + get("/small") + get("/large", accept) + get("/small"))
        for _ in range(2):
            assert gzip.decompress((await raw.answer())[2]) == text(200_000).body
            assert (await raw.answer())[2] == b"small"


# Heads


REPLIES = {
    "small": Reply(200, b"small", {"content-type": TEXT}),
    "empty": Reply(200),
    "packed": text(10_000, etag='"a"'),
    "large": text(100_000),
    "an image": Reply(200, b"a" * 10_000, {"content-type": "image/png"}),
    "created": Reply(201, b"{}", {"content-type": "application/json", "location": "/1"}),
    "nothing": Reply(204),
    "moved": Reply(303, b"", {"location": "/"}),
    "refused": Reply(404, b"no", {"content-type": TEXT}),
}
CHANGING = ("date", "x-request-id", "traceparent")


@DOORS
@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES.keys())
@pytest.mark.parametrize("accept", ["identity", "gzip"])
async def test_head_gives_the_headers_that_get_would(door, reply, accept) -> None:
    # "The server SHOULD send the same header fields in response to a HEAD request as it would have
    # sent if the request method had been GET." (9.3.2)
    async with serving(door(reply)) as town, await town.raw() as raw:
        raw.say(get("/", f"accept-encoding: {accept}", method="HEAD"))
        status, headers, _ = await raw.answer(has_body=False)
        raw.say(get("/", f"accept-encoding: {accept}"))
        assert (status, known(headers)) == known_of(await raw.answer())


def known(headers):
    return {name: values for name, values in headers.items() if name not in CHANGING}


def known_of(answer):
    return answer[0], known(answer[1])


async def test_head_of_a_refusal_has_no_body() -> None:
    async with serving() as town, await town.raw() as raw:
        raw.say(get("/nowhere", method="HEAD") + get("/nowhere"))
        status, headers, _ = await raw.answer(has_body=False)
        assert status == 404
        _, got, body = await raw.answer()
        assert headers["content-length"] == got["content-length"] == [str(len(body))]


@DOORS
@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("count", [0, 10, 5_000])
async def test_a_status_without_a_body_has_none_whatever_its_row_says(door, status, count) -> None:
    # "A server MUST NOT send a Content-Length header field in any response with a status code of
    # 1xx (Informational) or 204 (No Content)" (8.6)
    reply = Reply(status, text(count).body, {"content-type": TEXT, "etag": '"a"'})
    found, headers, _ = await asked(reply, "accept-encoding: gzip", door=door)
    assert found == status
    assert headers.keys().isdisjoint(("content-length", "transfer-encoding", "content-encoding"))


async def test_several_cookies_are_several_headers() -> None:
    reply = Reply(
        200, b"", {"set-cookie": "a=1; Path=/\nb=2; Expires=Thu, 01 Jan 1970 00:00:00 GMT"}
    )
    _, headers, _ = await asked(reply)
    assert headers["set-cookie"] == ["a=1; Path=/", "b=2; Expires=Thu, 01 Jan 1970 00:00:00 GMT"]


async def test_what_every_reply_owes_is_in_it_unless_its_row_says_otherwise() -> None:
    _, headers, _ = await asked(Reply(200, b"", {"content-type": "text/html; charset=utf-8"}))
    assert headers["cache-control"] == ["no-store"]
    assert headers["x-content-type-options"] == ["nosniff"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"][0]
    said = {"content-type": "text/html", "cache-control": "public", "x-frame-options": "SAMEORIGIN"}
    _, headers, _ = await asked(Reply(200, b"", said))
    assert headers["cache-control"] == ["public"]
    assert headers["x-frame-options"] == ["SAMEORIGIN"]
    assert "content-security-policy" not in (await asked(Reply(200, b"", {})))[1]


async def test_a_header_of_latin_1_is_sent_as_it_is() -> None:
    async with serving(replying(Reply(200, b"", {"x-place": "Chäteau"}))) as town:
        assert "x-place: Chäteau\r\n".encode("latin-1") in await town.said(get("/", CLOSE))


BROKEN = [
    {"x-a": "b\r\nset-cookie: evil=1"},
    {"x-a": "b\nset-cookie: evil=1"},
    {"x-a": "b\rset-cookie: evil=1"},
    {"x-a": "evil\0"},
    {"x-a": "evil\r\n\r\nHTTP/1.1 200 OK"},
    {"set-cookie": "a=1\r\nx-evil: 1"},
    {"x-a\r\nx-evil": "1"},
    {"x-evil: 1\r\nx-b": "1"},
    {"x-evil\0": "1"},
    {"x evil": "1"},
    {"x-evil:": "1"},
    {"": "evil"},
    {"X-Evil": "1"},
    {"x-a": "evil \N{SNOWMAN}"},
    {"transfer-encoding": "chunked, evil"},
    {"content-length": "5000"},
    {"date": "evil"},
    {"x-request-id": "evil"},
]


@DOORS
@pytest.mark.parametrize("kind", ["small", "tagged", "large"])
@pytest.mark.parametrize("headers", BROKEN, ids=ascii)
async def test_a_header_that_would_break_the_head_is_a_fault(door, kind, headers, caplog) -> None:
    own = {"tagged": {"etag": '"a"'}}.get(kind, {})
    body = b"secret" * (1_000 if kind == "large" else 1)
    reply = Reply(200, body, {"content-type": TEXT, **own, **headers})
    async with serving(door(reply)) as town:
        said = await town.said(get("/", CLOSE))
    assert said.startswith(b"HTTP/1.1 500 ")
    assert said.count(b"HTTP/1.1") == 1
    assert b"evil" not in said
    assert b"secret" not in said
    assert b"urn:bastide:fault" in said
    assert HeadBroken.__name__ in caplog.text


async def test_a_stream_s_head_is_held_to_the_same(caplog) -> None:
    async def pieces():
        yield b"secret"

    async def handle(_: object) -> Stream:
        return Stream(pieces(), headers={"x-a": "b\r\nx-evil: 1"})

    async with serving(route("GET", "/", handle, allow=anyone)) as town:
        said = await town.said(get("/", CLOSE))
    assert said.startswith(b"HTTP/1.1 500 ")
    assert b"evil" not in said
    assert HeadBroken.__name__ in caplog.text


async def test_what_a_client_sends_comes_back_in_no_head() -> None:
    """A row that puts a request's words into a header, as redirects do."""

    def handle(_: object, request: Request) -> Reply:
        return Reply(303, b"", {"location": request.query.get("to", "")})

    row = route("GET", "/", handle, allow=anyone, html=True)
    async with serving(row) as town:
        assert b"location: /next\r\n" in await town.said(get("/?to=/next", CLOSE))
        said = await town.said(get("/?to=/%0d%0aset-cookie:%20evil=1", CLOSE))
        assert said.startswith(b"HTTP/1.1 500 ")
        assert b"evil" not in said.partition(b"\r\n\r\n")[0]


async def test_a_fault_costs_only_its_own_request(caplog) -> None:
    rows = [replying(Reply(200, b"", {"x-a": "b\nc"}), path="/bad"), replying(Reply(200, b"good"))]
    async with serving(*rows) as town, await town.raw(get("/") + get("/bad") + get("/")) as raw:
        assert [(await raw.answer())[0] for _ in range(3)] == [200, 500, 200]
        await eventually(lambda: not town.server.in_flight)


async def test_a_client_that_leaves_while_its_reply_is_packed_is_forgotten() -> None:
    async with serving(replying(text(8_000_000))) as town:
        async with await town.raw(get("/", "accept-encoding: gzip")):
            await eventually(lambda: town.server.in_flight == 1)
        await eventually(lambda: not town.server.in_flight and not town.server.connections)
