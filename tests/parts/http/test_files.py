"""Files on the wire: whole, in parts, packed, or not there. Sections are those of RFC 9110."""

import gzip
import os
import socket
from email import message_from_bytes

import pytest

from bastide.base.gate import anyone
from bastide.base.routes.rows import File, route
from bastide.base.rt import runtime
from bastide.parts.http import replies
from bastide.parts.http.core.dates import http_date
from bastide.parts.http.replies import PACKED_FILE_BYTES_MAX
from tests.parts.http.files_kit import (
    DATA,
    OLD_S,
    make,
    numbers,
    publishing,
)
from tests.parts.http.server_kit import descriptors, eventually, get, serving


@pytest.fixture
def made(tmp_path):
    """`made(content)`: a file that was last changed long ago."""

    def made(content, *, name="file", **when):
        return make(tmp_path / name, content, **when)

    return made


async def asked(path, *headers, method="GET", content_type=DATA, **file):
    """The answer; and that the connection goes on behind it, and no descriptor is left."""
    async with serving(*publishing(path, content_type, **file)) as town, await town.raw() as raw:
        raw.say(get("/next"))
        await raw.answer()
        before = descriptors()
        raw.say(get("/", *headers, method=method) + get("/next"))
        answer = await raw.answer(has_body=method != "HEAD")
        assert (await raw.answer())[2] == b"next"
        assert descriptors() == before
        return answer


# Whole


@pytest.mark.parametrize("count", [0, 1, 999, 100_000])
async def test_a_file_is_sent_as_it_is(made, count) -> None:
    path = made(numbers(count))
    status, headers, body = await asked(path, headers={"cache-control": "max-age=5"})
    assert (status, body) == (200, numbers(count))
    assert headers["content-length"] == [str(count)]
    assert headers["content-type"] == [DATA]
    assert headers["last-modified"] == [http_date(OLD_S)]
    assert headers["etag"] == [f'"{OLD_S:x}-{count:x}"']
    assert headers["accept-ranges"] == ["bytes"]
    assert headers["cache-control"] == ["max-age=5"]


@pytest.mark.parametrize("count", [0, 5, 3 << 20])
async def test_by_http_1_0_the_file_ends_with_the_connection(made, count) -> None:
    path = made(numbers(count))
    async with serving(*publishing(path)) as town:
        head, _, body = (await town.said(get(version="1.0", host=""))).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in head
    assert body == path.read_bytes()


@pytest.mark.parametrize("count", [0, 100_000])
async def test_head_gives_the_headers_of_a_file_alone(made, count) -> None:
    path = made(numbers(count))
    status, headers, _ = await asked(path, method="HEAD")
    assert (status, headers["content-length"]) == (200, [str(count)])
    _, got, _ = await asked(path)
    assert headers.keys() == got.keys()


# Parts


async def test_a_range_is_a_part(made) -> None:
    status, headers, body = await asked(made(numbers(1_000)), "range: bytes=10-19")
    assert (status, body) == (206, b"000000001\n")
    assert headers["content-range"] == ["bytes 10-19/1000"]
    assert headers["content-length"] == ["10"]
    assert headers["content-type"] == [DATA]


@pytest.mark.parametrize(
    ("asked_for", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=990-", 990, 999),
        ("bytes=-10", 990, 999),
        ("bytes=-5000", 0, 999),
        ("bytes=995-5000", 995, 999),
        ("bytes=0-499, 300-700", 0, 700),
        ("bytes=5000-, 0-1", 0, 1),
    ],
)
async def test_a_range_may_be_said_in_several_ways(made, asked_for, first, last) -> None:
    status, headers, body = await asked(made(numbers(1_000)), f"range: {asked_for}")
    assert (status, headers["content-range"]) == (206, [f"bytes {first}-{last}/1000"])
    assert body == numbers(1_000)[first : last + 1]


@pytest.mark.parametrize("spread", [1_000, 3 << 20])
async def test_several_ranges_are_several_parts(made, spread) -> None:
    path = made(numbers(spread))
    middle = spread // 2
    wanted = f"range: bytes=0-9,{middle}-{spread - 101},-10"
    status, headers, body = await asked(path, wanted, content_type="text/csv")
    assert (status, headers["content-length"]) == (206, [str(len(body))])
    assert "content-range" not in headers  # 15.3.7.2
    [kind] = headers["content-type"]
    message = message_from_bytes(b"content-type: " + kind.encode() + b"\r\n\r\n" + body)
    assert message.get_content_type() == "multipart/byteranges"
    parts = message.get_payload()
    ranges = [(0, 9), (middle, spread - 101), (spread - 10, spread - 1)]
    assert [part["content-range"] for part in parts] == [
        f"bytes {first}-{last}/{spread}" for first, last in ranges
    ]
    assert {part["content-type"] for part in parts} == {"text/csv"}
    boundary = kind.partition("boundary=")[2].encode()
    found = [piece.partition(b"\r\n\r\n")[2] for piece in body.split(b"\r\n--" + boundary)[1:-1]]
    assert found == [path.read_bytes()[first : last + 1] for first, last in ranges]


async def test_a_range_behind_the_end_is_refused(made) -> None:
    status, headers, body = await asked(made(numbers(1_000)), "range: bytes=1000-")
    assert (status, body, headers["content-length"]) == (416, b"", ["0"])
    assert headers["content-range"] == ["bytes */1000"]  # 15.5.17
    assert "content-type" not in headers


@pytest.mark.parametrize(
    "header", ["range: items=0-1", "range: bytes=5-1", "range: bytes=0-0," + ",".join(["2-3"] * 20)]
)
async def test_a_range_that_is_not_understood_is_ignored(made, header) -> None:
    status, _, body = await asked(made(numbers(1_000)), header)
    assert (status, body) == (200, numbers(1_000))


async def test_an_empty_file_has_no_parts(made) -> None:
    status, headers, _ = await asked(made(b""), "range: bytes=0-")
    assert (status, headers["content-length"]) == (200, ["0"])


async def test_a_range_is_for_get_alone(made) -> None:
    # "A server MUST ignore a Range header field received with a request method that is
    # unrecognized or for which range handling is not defined" (14.2)
    status, headers, _ = await asked(made(numbers(1_000)), "range: bytes=0-1", method="HEAD")
    assert (status, headers["content-length"]) == (200, ["1000"])


TAG = f'"{OLD_S:x}-{1_000:x}"'


@pytest.mark.parametrize(
    ("if_range", "status"),
    [
        (TAG, 206),
        (f"W/{TAG}", 200),
        ('"other"', 200),
        (http_date(OLD_S), 206),
        (http_date(OLD_S - 1), 200),
        (http_date(OLD_S + 1), 200),
        ("yesterday", 200),
    ],
)
async def test_a_part_is_sent_only_of_what_the_client_has_another_part_of(
    made, if_range, status
) -> None:
    path = made(numbers(1_000))
    found, _, body = await asked(path, "range: bytes=0-9", f"if-range: {if_range}")
    assert (found, len(body)) == (status, 10 if status == 206 else 1_000)


# Conditions


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        (f"if-none-match: {TAG}", 304),
        (f"if-none-match: W/{TAG}", 304),
        ("if-none-match: *", 304),
        ('if-none-match: "other"', 200),
        (f"if-modified-since: {http_date(OLD_S)}", 304),
        (f"if-modified-since: {http_date(OLD_S - 1)}", 200),
        (f"if-match: {TAG}", 200),
        ('if-match: "other"', 412),
        (f"if-unmodified-since: {http_date(OLD_S)}", 200),
        (f"if-unmodified-since: {http_date(OLD_S - 1)}", 412),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_conditions_are_kept_to(made, condition, status, method) -> None:
    path = made(numbers(1_000))
    found, headers, body = await asked(path, condition, method=method)
    assert found == status
    assert headers["etag"] == [TAG]
    assert len(body) == (1_000 if status == 200 and method == "GET" else 0)
    if status == 304:
        assert headers.keys().isdisjoint(("content-length", "content-type"))
        assert headers["last-modified"] == [http_date(OLD_S)]


async def test_conditions_come_before_ranges(made) -> None:
    path = made(numbers(1_000))
    status, *_ = await asked(path, "range: bytes=0-1", f"if-none-match: {TAG}")
    assert status == 304
    status, *_ = await asked(path, "range: bytes=5000-", 'if-match: "other"')
    assert status == 412


async def test_a_row_may_tell_files_apart_by_its_own_tag(made) -> None:
    path = made(numbers(1_000))
    _, headers, _ = await asked(path, tag="1a2b")
    assert headers["etag"] == ['"1a2b"']
    status, *_ = await asked(path, 'if-none-match: "1a2b"', tag="1a2b")
    assert status == 304


# Packed


@pytest.mark.parametrize("count", [2_000, 200_000])
async def test_text_is_packed_and_has_a_tag_of_its_own(made, count) -> None:
    path = made(numbers(count))
    status, headers, body = await asked(path, "accept-encoding: gzip", content_type="text/css")
    assert (status, headers["content-encoding"]) == (200, ["gzip"])
    assert (headers["content-length"], headers["vary"]) == ([str(len(body))], ["accept-encoding"])
    assert gzip.decompress(body) == path.read_bytes()
    [tag] = headers["etag"]
    assert tag == f'"{OLD_S:x}-{count:x}-gzip"'
    again = await asked(
        path, "accept-encoding: gzip", f"if-none-match: {tag}", content_type="text/css"
    )
    assert (again[0], again[1]["etag"], again[1]["vary"]) == (304, [tag], ["accept-encoding"])
    plain = await asked(path, f"if-none-match: {tag}", content_type="text/css")
    assert (plain[0], plain[1]["vary"]) == (200, ["accept-encoding"])


async def test_a_part_of_text_is_one_of_the_bytes_as_they_are(made) -> None:
    path = made(numbers(2_000))
    asking = "accept-encoding: gzip", "range: bytes=0-9"
    status, headers, body = await asked(path, *asking, content_type="text/css")
    assert (status, body) == (206, numbers(10))
    assert "content-encoding" not in headers
    tag = f'if-range: "{OLD_S:x}-{2_000:x}-gzip"'
    status, _, body = await asked(path, *asking, tag, content_type="text/css")
    assert (status, len(body)) == (200, 2_000), "a part of other bytes than those it has"


@pytest.mark.parametrize("count", [999, PACKED_FILE_BYTES_MAX + 1])
async def test_what_is_small_or_very_large_is_sent_as_it_is(made, count) -> None:
    path = made(numbers(count))
    _, headers, body = await asked(path, "accept-encoding: gzip", content_type="text/css")
    assert body == path.read_bytes()
    assert headers.keys().isdisjoint(("content-encoding", "vary"))


@pytest.mark.parametrize("count", [1_000, PACKED_FILE_BYTES_MAX])
async def test_what_is_just_large_enough_or_just_not_too_large_is_packed(made, count) -> None:
    path = made(numbers(count))
    _, headers, body = await asked(path, "accept-encoding: zstd", content_type="text/css")
    assert headers["content-encoding"] == ["zstd"]
    assert len(body) < count


async def test_a_file_that_is_packed_already_is_not_packed_again(made) -> None:
    path = made(gzip.compress(numbers(20_000), mtime=0))
    own = {"content-encoding": "gzip"}
    _, headers, body = await asked(
        path, "accept-encoding: gzip, zstd", content_type="text/css", headers=own
    )
    assert (headers["content-encoding"], body) == (["gzip"], path.read_bytes())


async def test_the_packed_form_is_kept(made) -> None:
    """Other bytes of the same size and time: who is asked again tells what it had kept."""
    path = made(b"a" * 50_000)
    rows = publishing(path, "text/css")
    async with serving(*rows) as town, town.client() as client:
        accepting = {"accept-encoding": "gzip"}
        first = await client.get("/", headers=accepting)
        made(b"b" * 50_000)
        again = await client.get("/", headers=accepting)
        assert again.content == first.content == b"a" * 50_000
        assert (await client.get("/")).content == b"b" * 50_000
        made(b"c" * 50_000, modified_s=OLD_S + 1)
        changed = await client.get("/", headers=accepting)
        assert changed.content == b"c" * 50_000
        assert changed.headers["etag"] != first.headers["etag"]


async def test_what_was_changed_this_very_second_is_not_kept(made) -> None:
    soon_s = runtime.now_ms() // 1000 + 60
    path = made(b"a" * 50_000, modified_s=soon_s)
    async with serving(*publishing(path, "text/css")) as town, town.client() as client:
        accepting = {"accept-encoding": "gzip"}
        await client.get("/", headers=accepting)
        made(b"b" * 50_000, modified_s=soon_s)
        assert (await client.get("/", headers=accepting)).content == b"b" * 50_000


async def test_what_is_kept_is_small_together(tmp_path, monkeypatch) -> None:
    """The oldest is let go, and packed anew when it is asked for."""
    monkeypatch.setattr(replies, "PACKED_FILES_BYTES_MAX", 4_000)
    paths = [tmp_path / f"{n}.css" for n in range(4)]
    for path in paths:
        write_random(path)

    def handle(_: object, name: str) -> File:
        return File(tmp_path / name, "text/css")

    rows = [route("GET", "/{name}", handle, allow=anyone)]
    async with serving(*rows) as town, town.client() as client:
        accepting = {"accept-encoding": "gzip"}
        before = [(await client.get(f"/{p.name}", headers=accepting)).content for p in paths]
        for path in paths:
            write_random(path)
        after = [(await client.get(f"/{p.name}", headers=accepting)).content for p in paths[::-1]]
    kept = [old == new for old, new in zip(before, after[::-1], strict=True)]
    assert kept == [False, False, True, True]


def write_random(path):
    """That gets hardly smaller: a bit under 2,000 bytes."""
    path.write_bytes(os.urandom(1_500))
    os.utime(path, (OLD_S, OLD_S))


async def test_who_leaves_takes_the_packing_from_nobody_else(made) -> None:
    path = made(numbers(PACKED_FILE_BYTES_MAX))
    accept = "accept-encoding: gzip"
    async with serving(*publishing(path, "text/css")) as town:
        async with await town.raw(get("/", accept)):
            await eventually(lambda: town.server.in_flight)
        async with await town.raw(get("/", accept)) as raw:
            assert gzip.decompress((await raw.answer())[2]) == path.read_bytes()


# What is no file


async def test_a_file_that_has_gone_is_not_found(made) -> None:
    path = made(b"here")
    async with serving(*publishing(path)) as town, town.client() as client:
        assert (await client.get("/")).content == b"here"
        path.unlink()
        gone = await client.get("/")
        assert (gone.status_code, gone.json()["type"]) == (404, "urn:bastide:no-such-page")
        assert (await client.head("/")).status_code == 404
        made(b"again")
        assert (await client.get("/")).content == b"again"


async def test_a_directory_is_no_file(tmp_path) -> None:
    before = descriptors()
    for path in (tmp_path, tmp_path / "none" / "such", tmp_path / ("a" * 300)):
        async with serving(*publishing(path)) as town, town.client() as client:
            found = await client.get("/")
            assert (found.status_code, found.json()["type"]) == (404, "urn:bastide:no-such-page")
    assert descriptors() == before


async def test_what_is_below_a_file_is_not_found(made) -> None:
    path = made(b"here") / "below"
    async with serving(*publishing(path)) as town, town.client() as client:
        assert (await client.get("/")).status_code == 404


async def test_a_file_that_can_t_be_read_is_a_fault(tmp_path, caplog) -> None:
    """It was published: that we may not, or can't, is for us to mend, not for the client."""
    path = tmp_path / "door"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        async with serving(*publishing(path)) as town, town.client() as client:
            found = await client.get("/")
    assert (found.status_code, found.json()["type"]) == (500, "urn:bastide:fault")
    assert "door" not in found.text
    assert "OSError" in caplog.text


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="files have no owner here")
async def test_a_file_without_permission_is_a_fault(made, caplog) -> None:
    path = made(b"secret")
    path.chmod(0)
    user = os.geteuid()
    async with serving(*publishing(path)) as town, town.client() as client:
        try:
            if user == 0:
                os.seteuid(65_534)
            found = await client.get("/")
        finally:
            os.seteuid(user)
    assert (found.status_code, found.json()["type"]) == (500, "urn:bastide:fault")
    assert "PermissionError" in caplog.text
