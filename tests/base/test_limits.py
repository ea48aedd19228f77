"""The limits of every door: what is just allowed, and what is one too much."""

import msgspec
import pytest

from bastide.base.gate import anyone
from bastide.base.metrics import Registry
from bastide.base.routes.binding import FORM_FIELDS_MAX, Endpoint
from bastide.base.routes.heads import QUERY_PARAMETERS_MAX
from bastide.base.routes.http import Http, Site
from bastide.base.routes.limits import HeadLimits
from bastide.base.routes.rows import BODY_BYTES_MAX, Chunks, Reply, route
from bastide.parts.http.asgi import Asgi

URI_BYTES_MAX = HeadLimits().target_bytes
HEADERS_MAX = HeadLimits().headers
HEADER_BYTES_MAX = HeadLimits().header_bytes


class Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: str = ""


taken: list[int] = []


def write(_: object, note: Note) -> Note:
    taken.append(len(note.text))
    return Note()


async def upload(_: object, chunks: Chunks) -> None:
    async for chunk in chunks:
        taken[:] = [sum(taken) + len(chunk)]


def read(_: object, rest: str) -> Reply:
    return Reply()


READ = route("GET", "/{rest:path}", read, allow=anyone, html=True)
WRITE = route("POST", "/notes", write, allow=anyone)
SMALL = route("POST", "/small", write, allow=anyone, body_max=20)
UPLOAD = route("PUT", "/upload", upload, allow=anyone, body_max=1000)
FORM = route("POST", "/form", write, allow=anyone, form=True)
JSON = {"content-type": "application/json"}


@pytest.fixture(autouse=True)
def nothing_taken() -> None:
    taken.clear()


@pytest.mark.parametrize(("over", "status"), [(0, 200), (1, 414)])
@pytest.mark.parametrize("query", ["", "?a=b"])
async def test_an_address_has_at_most_its_bytes(serve, query: str, over: int, status: int) -> None:
    path = "/" + "p" * (URI_BYTES_MAX - 1 - len(query) + over)
    assert (await serve(READ).get(path + query)).status_code == status


@pytest.mark.parametrize(("count", "status"), [(HEADERS_MAX, 200), (HEADERS_MAX + 1, 431)])
async def test_a_request_has_at_most_its_headers(count: int, status: int) -> None:
    headers = [(b"host", b"localhost"), *[(b"x-%d" % n, b"1") for n in range(count - 1)]]
    assert await _status(headers) == status


@pytest.mark.parametrize(("over", "status"), [(0, 200), (1, 431)])
async def test_headers_have_at_most_their_bytes(over: int, status: int) -> None:
    host = (b"host", b"localhost")
    headers = [host, (b"x", b"v" * (HEADER_BYTES_MAX - len(b"".join(host)) - 1 + over))]
    assert await _status(headers) == status


async def _status(headers: list[tuple[bytes, bytes]]) -> int:
    """As an ASGI server calls: no client adds headers of its own."""
    site = Site()
    site.mount("", [Endpoint("mill", READ, None, {})], Registry())
    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": "/a",
        "raw_path": b"/a",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8800),
    }
    sent = []

    async def send(message) -> None:
        sent.append(message)

    async def receive():
        raise AssertionError("there is no body to read")

    await Asgi(Http(site, {}))(scope, receive, send)
    return sent[0]["status"]


@pytest.mark.parametrize(
    ("count", "status"),
    [(QUERY_PARAMETERS_MAX, 200), (QUERY_PARAMETERS_MAX + 1, 400), (4000, 400)],
)
async def test_a_query_has_at_most_its_parameters(serve, count: int, status: int) -> None:
    query = "&".join(["a"] * count)
    assert (await serve(READ).get(f"/a?{query}")).status_code == status


def _note(size: int) -> bytes:
    """A body of `size` bytes."""
    return b'{"text":"' + b"t" * (size - 11) + b'"}'


async def _chunked(body: bytes):
    for start in range(0, len(body), 7_000):
        yield body[start : start + 7_000]


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        ("/notes", BODY_BYTES_MAX, 200),
        ("/notes", BODY_BYTES_MAX + 1, 413),
        ("/small", 20, 200),
        ("/small", 21, 413),
    ],
)
async def test_a_body_has_at_most_its_bytes(
    serve, path: str, size: int, status: int, chunked: bool
) -> None:
    body = _chunked(_note(size)) if chunked else _note(size)
    reply = await serve(WRITE, SMALL).post(path, content=body, headers=JSON)
    assert reply.status_code == status
    assert len(taken) == (status == 200)
    if status == 413:
        assert "are taken" in reply.text or "is not taken" in reply.text


async def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_read(serve) -> None:
    async def body():
        raise AssertionError("nobody may read this")
        yield b""

    headers = {**JSON, "content-length": str(10**15)}
    reply = await serve(WRITE).post("/notes", content=body(), headers=headers)
    assert reply.status_code == 413


@pytest.mark.parametrize(("size", "status"), [(1000, 204), (1001, 413)])
async def test_a_body_taken_piece_by_piece_stops_at_its_limit(
    serve, size: int, status: int
) -> None:
    async def body():
        for _ in range(size):
            yield b"x"

    reply = await serve(UPLOAD).put("/upload", content=body())
    assert reply.status_code == status
    assert sum(taken) == 1000


@pytest.mark.parametrize(("count", "status"), [(FORM_FIELDS_MAX, 200), (FORM_FIELDS_MAX + 1, 400)])
async def test_a_form_has_at_most_its_fields(serve, count: int, status: int) -> None:
    media = {"content-type": "application/x-www-form-urlencoded"}
    body = "&".join(["text=a"] * count).encode()
    reply = await serve(FORM).post("/form", content=body, headers=media)
    assert reply.status_code == status
