"""What every door owes, asked by HTTP: arguments, kinds of refusal, methods, media, once, pages."""

import asyncio
from typing import Annotated, Literal

import msgspec
import pytest

from bastide.base.errors import (
    Conflict,
    Denied,
    Gone,
    Invalid,
    Limited,
    Mismatch,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from bastide.base.gate import Caller, anyone
from bastide.base.manifest import Miswired
from bastide.base.routes.binding import Endpoint
from bastide.base.routes.heads import SINGLE_HEADERS
from bastide.base.routes.rows import (
    ONCE_KEY_MAX,
    Chunks,
    Reply,
    Request,
    fingerprint,
    json_reply,
    redirect,
    route,
)
from bastide.base.tx import Once
from bastide.parts.http.heads import ALWAYS, ALWAYS_FOR_PAGES


class Grain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: str
    sacks: Annotated[int, msgspec.Meta(ge=1, le=9)] = 1


class Flour(msgspec.Struct, frozen=True):
    kind: str
    sacks: int


class LinkGone(Gone):
    pass


async def grind(_: object, grain: Grain) -> Flour:
    return Flour(grain.kind, grain.sacks)


GRIND = route("POST", "/grind", grind, allow=anyone, status=201, headers={"x-mill": "water"})


async def test_a_struct_comes_from_the_body_and_one_goes_out(serve) -> None:
    reply = await serve(GRIND).post("/grind", json={"kind": "rye", "sacks": 9})
    assert (reply.status_code, reply.json()) == (201, {"kind": "rye", "sacks": 9})
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-mill"] == "water"
    assert reply.headers["content-length"] == str(len(reply.content))
    assert ALWAYS.items() <= dict(reply.headers).items()


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff", b'{"kind": 7}', b"{}", b'{"kind": "rye", "sacks": 0}',
     b'{"kind": "rye", "sacks": 10}', b'{"kind": "rye", "sacks": "1"}', b'{"kind": "r", "x": 1}',
     b'{"kind": "\\ud800"}', b'{"kind": "rye", "sacks": 1e999}', b"[" * 60_000],
)  # fmt: skip
async def test_a_body_that_is_not_as_wanted_is_refused_and_says_why(serve, body: bytes) -> None:
    reply = await serve(GRIND).post(
        "/grind", content=body, headers={"content-type": "application/json"}
    )
    assert reply.status_code == 400
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["detail"].startswith("the body is not as wanted: ")


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "", "json"])
async def test_a_body_of_another_type_is_refused(serve, media: str) -> None:
    reply = await serve(GRIND).post(
        "/grind", content=b'{"kind": "rye"}', headers={"content-type": media}
    )
    assert reply.status_code == 415
    assert reply.json()["type"] == "urn:bastide:media-refused"


async def test_the_type_of_a_body_may_have_parameters_and_capitals(serve) -> None:
    reply = await serve(GRIND).post(
        "/grind",
        content=b'{"kind": "rye"}',
        headers={"content-type": "Application/JSON; charset=utf-8"},
    )
    assert reply.status_code == 201


FORM = route("POST", "/form", grind, allow=anyone, form=True)


async def test_a_form_is_taken_where_the_row_says_so(serve) -> None:
    client = serve(FORM)
    reply = await client.post("/form", data={"kind": "rye & more", "sacks": "3"})
    assert reply.json() == {"kind": "rye & more", "sacks": 3}
    reply = await client.post("/form", data={"kind": "rye", "sacks": ""})
    assert reply.json() == {"kind": "rye", "sacks": 1}, "an empty field is an absent one"


@pytest.mark.parametrize(
    "body", [b"sacks=3", b"kind=%ff", b"kind=r&x=1", b"kind=r&sacks=ten", b"\xff"]
)
async def test_a_form_that_is_not_as_wanted_is_refused(serve, body: bytes) -> None:
    media = {"content-type": "application/x-www-form-urlencoded"}
    reply = await serve(FORM).post("/form", content=body, headers=media)
    assert reply.status_code == 400
    assert reply.json()["detail"].startswith("the form is not as wanted: ")


def sort(
    _: object,
    shelf: int,
    kind: Literal["rye", "oat"],
    share: float = 0.5,
    fresh: bool = False,
    note: str | None = None,
) -> list[Flour]:
    return [Flour(f"{shelf} {kind} {share} {fresh} {note}", 1)]


SORT = route("GET", "/shelves/{shelf}", sort, allow=anyone)


async def test_scalars_come_from_the_path_and_the_query_by_their_type(serve) -> None:
    client = serve(SORT)
    reply = await client.get("/shelves/7?kind=rye&share=0.25&fresh=true&note=a%20b")
    assert reply.json()[0]["kind"] == "7 rye 0.25 True a b"
    reply = await client.get("/shelves/7?kind=oat")
    assert reply.json()[0]["kind"] == "7 oat 0.5 False None"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/shelves/x?kind=rye", "shelf='x': "),
        ("/shelves/7?kind=corn", "kind='corn': "),
        ("/shelves/7?kind=rye&share=half", "share='half': "),
        ("/shelves/7?kind=rye&fresh=maybe", "fresh='maybe': "),
        ("/shelves/7", "the parameter 'kind' is missing"),
        ("/shelves/7?kind=%ff", "the query is not percent-encoded UTF-8"),
        ("/shelves/%ff?kind=rye", "the path is not percent-encoded UTF-8"),
    ],
)
async def test_a_wrong_parameter_is_refused_by_its_name(serve, address: str, said: str) -> None:
    reply = await serve(SORT).get(address)
    assert reply.status_code == 400
    assert reply.json()["detail"].startswith(said)


async def test_a_repeated_parameter_counts_once_and_a_repeated_header_is_joined(serve) -> None:
    async def show(_: object, request: Request, a: str) -> Reply:
        return json_reply([a, request.headers["x-a"]])

    client = serve(route("GET", "/show", show, allow=anyone))
    reply = await client.get("/show?a=1&a=2", headers=[("x-a", "1"), ("x-a", "2")])
    assert reply.json() == ["1", "1, 2"]


@pytest.mark.parametrize("name", sorted(SINGLE_HEADERS))
async def test_a_header_that_must_stand_alone_is_refused_twice(serve, name: str) -> None:
    async def show(_: object) -> Reply:
        return json_reply([])

    client = serve(route("GET", "/show", show, allow=anyone))
    reply = await client.get("/show", headers=[(name, "a"), (name, "a")])
    assert reply.status_code == 400
    assert name in reply.json()["detail"]


@pytest.mark.parametrize("host", ["", "[", "a:b", "[::1"])
async def test_a_host_that_is_none_is_refused(serve, host: str) -> None:
    async def show(_: object) -> Reply:
        return json_reply([])

    client = serve(route("GET", "/show", show, allow=anyone))
    assert (await client.get("/show", headers={"host": host})).status_code == 400


async def test_an_origin_that_is_none_is_refused_and_no_fault(serve) -> None:
    async def change(_: object) -> Reply:
        return json_reply([])

    client = serve(route("POST", "/change", change, allow=anyone))
    assert (await client.post("/change", headers={"origin": "http://["})).status_code == 403


async def test_a_parameter_that_nobody_reads_is_refused_but_for_pages(serve) -> None:
    async def show(_: object, count: int = 0) -> Reply:
        return json_reply([count])

    client = serve(
        route("GET", "/show", show, allow=anyone),
        route("GET", "/page", show, allow=anyone, html=True),
    )
    reply = await client.get("/show?count=5&bogus=1")
    assert reply.status_code == 400
    assert "bogus" in reply.json()["detail"]
    assert (await client.get("/page?count=5&utm_source=x")).json() == [5]


REFUSALS = [
    (Invalid("i"), 400, {}),
    (TooLarge("t"), 413, {}),
    (Denied("d"), 403, {}),
    (Unauthenticated("u"), 401, {"www-authenticate": "Bearer"}),
    (NotFound("n"), 404, {}),
    (LinkGone("g"), 410, {}),
    (Conflict("c"), 409, {}),
    (Mismatch("m"), 422, {}),
    (Limited("l", retry_after_s=2.6), 429, {"retry-after": "3"}),
    (Limited("l", retry_after_s=0.1), 429, {"retry-after": "1"}),
    (Unavailable("a", outcome="unknown"), 503, {"retry-after": "1"}),
]


@pytest.mark.parametrize(("error", "status", "headers"), REFUSALS, ids=repr)
async def test_each_kind_of_refusal_is_a_problem_with_what_the_caller_needs(
    serve, error: Exception, status: int, headers: dict[str, str]
) -> None:
    async def refuse(_: object) -> Flour:
        raise error

    reply = await serve(route("GET", "/refuse", refuse, allow=anyone)).get("/refuse")
    problem = reply.json()
    assert reply.status_code == problem["status"] == status
    assert reply.headers["content-type"] == "application/problem+json"
    assert problem["detail"] == str(error)
    assert problem["type"].startswith("urn:bastide:")
    assert problem["instance"] == f"urn:bastide:request:{reply.headers['x-request-id']}"
    assert problem.get("facts", {}) == error.facts
    assert headers.items() <= dict(reply.headers).items()


async def test_a_fault_is_a_500_that_says_nothing_and_is_logged(serve, caplog) -> None:
    async def break_(_: object) -> Flour:
        raise KeyError("password of the database")

    reply = await serve(route("GET", "/break", break_, allow=anyone)).get("/break")
    assert reply.status_code == 500
    assert "password" not in reply.text
    [record] = caplog.records
    assert reply.headers["x-request-id"] in record.getMessage()
    assert "password" in caplog.text


async def test_what_nothing_is_at_is_a_404(serve) -> None:
    reply = await serve(GRIND).get("/nowhere")
    assert (reply.status_code, reply.json()["type"]) == (404, "urn:bastide:no-such-page")


async def test_a_method_that_is_not_taken_is_a_405_that_names_the_others(serve) -> None:
    client = serve(GRIND, SORT)
    for method, path, allowed in (
        ("DELETE", "/grind", "OPTIONS, POST"),
        ("POST", "/shelves/7", "GET, HEAD, OPTIONS"),
        ("BREW", "/grind", "OPTIONS, POST"),
    ):
        reply = await client.request(method, path)
        assert (reply.status_code, reply.headers["allow"]) == (405, allowed)


async def test_options_names_the_methods(serve) -> None:
    reply = await serve(SORT).options("/shelves/7")
    assert (reply.status_code, reply.content) == (204, b"")
    assert reply.headers["allow"] == "GET, HEAD, OPTIONS"


async def test_head_is_get_without_its_body(serve) -> None:
    client = serve(SORT)
    head = await client.head("/shelves/7?kind=rye")
    body = await client.get("/shelves/7?kind=rye")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(body.content))


async def test_nothing_is_a_204(serve) -> None:
    async def forget(_: object, shelf: int) -> None:
        pass

    reply = await serve(route("DELETE", "/shelves/{shelf}", forget, allow=anyone)).delete(
        "/shelves/7"
    )
    assert (reply.status_code, reply.content) == (204, b"")
    assert "content-length" not in reply.headers


async def test_a_door_that_takes_too_long_is_cut_off_with_an_unknown_outcome(serve) -> None:
    async def sleep(_: object) -> Flour:
        await asyncio.Event().wait()
        raise AssertionError

    client = serve(route("GET", "/sleep", sleep, allow=anyone, timeout_s=0.01))
    reply = await client.get("/sleep")
    assert reply.status_code == 503
    assert reply.json()["facts"] == {"outcome": "unknown"}
    assert reply.json()["detail"] == "not done within 0.01 s"


async def test_a_body_can_be_taken_piece_by_piece(serve) -> None:
    async def upload(_: object, chunks: Chunks) -> Flour:
        return Flour("chunks", sum([len(piece) async for piece in chunks]))

    client = serve(route("PUT", "/upload", upload, allow=anyone, body_max=1 << 20))

    async def pieces():
        for _ in range(10):
            yield b"x" * 1000

    reply = await client.put("/upload", content=pieces())
    assert reply.json() == {"kind": "chunks", "sacks": 10_000}


# Pages of other origins


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:8801"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_a_page_of_another_origin_changes_nothing(serve, headers: dict[str, str]) -> None:
    reply = await serve(GRIND).post("/grind", json={"kind": "rye"}, headers=headers)
    assert reply.status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://localhost:8800"},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
    ],
)
async def test_our_own_pages_and_programs_may_change_things(serve, headers: dict[str, str]) -> None:
    reply = await serve(GRIND).post("/grind", json={"kind": "rye"}, headers=headers)
    assert reply.status_code == 201


async def test_a_page_of_another_origin_may_lead_here(serve) -> None:
    headers = {"origin": "https://elsewhere.example", "sec-fetch-site": "cross-site"}
    reply = await serve(SORT).get("/shelves/7?kind=rye", headers=headers)
    assert reply.status_code == 200


# Requests that may be repeated


def once(_: object, grain: Grain, caller: Caller, once: Once[Flour] | None) -> Reply:
    return json_reply(once and [once.key, once.fingerprint.hex()])


ONCE = route("POST", "/once", once, allow=anyone, once=True)


async def _once(client, key: str | None, kind: str = "rye", **headers: str) -> list[str] | None:
    if key is not None:
        headers["idempotency-key"] = key
    reply = await client.post("/once", json={"kind": kind}, headers=headers)
    assert reply.status_code == 200, reply.text
    return reply.json()


async def test_a_repetition_has_the_key_and_the_fingerprint_of_the_first(serve) -> None:
    client = serve(ONCE)
    first = await _once(client, "k1")
    assert await _once(client, "k1") == first
    assert (await _once(client, "k2"))[0] != first[0]
    assert (await _once(client, "k1", "oat"))[0] == first[0]
    assert (await _once(client, "k1", "oat"))[1] != first[1], "the same key with another request"
    assert await _once(client, None) is None


async def test_a_key_is_its_callers_own_and_is_not_kept_in_clear(serve) -> None:
    client = serve(ONCE)
    mine = await _once(client, "k1", authorization="Bearer mine")
    yours = await _once(client, "k1", authorization="Bearer yours")
    assert mine[0] != yours[0]
    assert "k1" not in mine[0]


@pytest.mark.parametrize(
    ("key", "status"),
    [("k" * ONCE_KEY_MAX, 200), ("k" * (ONCE_KEY_MAX + 1), 400), ("", 400), ("\x7f", 400)],
    ids=["max", "max and one", "empty", "not printable"],
)
async def test_an_idempotency_key_is_short_and_printable(serve, key: str, status: int) -> None:
    reply = await serve(ONCE).post("/once", json={"kind": "rye"}, headers={"idempotency-key": key})
    assert reply.status_code == status


def test_a_fingerprint_covers_all_that_is_asked_for() -> None:
    def made(method="POST", path="/a", query=None, body=b"b") -> bytes:
        request = Request(method=method, path=path, query=query or {}, headers={}, id_="1")
        request.body = body
        return fingerprint(request)

    prints = [made(), made(method="PUT"), made(path="/b"), made(query={"a": "1"}), made(body=b"c")]
    assert len(set(prints)) == 5
    assert made(query={"a": "1", "b": "2"}) == made(query={"b": "2", "a": "1"})


# Pages


def page(_: object) -> Reply:
    return Reply(200, b"<p>", {"content-type": "text/html; charset=utf-8"})


async def test_pages_are_not_framed_and_run_only_our_own_scripts(serve) -> None:
    reply = await serve(route("GET", "/", page, allow=anyone, html=True)).get("/")
    assert ALWAYS_FOR_PAGES.items() <= dict(reply.headers).items()
    assert "'unsafe-inline'" not in reply.headers["content-security-policy"]


async def test_a_person_gets_a_refusal_as_a_page_and_a_program_as_json(serve) -> None:
    def problem_page(problem, request) -> Reply:
        return Reply(problem.status, b"<h1>", {"content-type": "text/html"})

    client = serve(GRIND, problem_page=problem_page)
    browser = {"accept": "text/html,*/*"}
    assert (await client.get("/nowhere", headers=browser)).content == b"<h1>"
    assert (await client.get("/nowhere")).json()["status"] == 404
    reply = await client.post("/grind", content=b"{", headers=browser)
    assert reply.json()["status"] == 415, "a program's door stays one"


async def test_a_redirect_has_its_address_and_nothing_else(serve) -> None:
    def leave(_: object) -> Reply:
        return redirect("https://elsewhere.example/", 302, {"cache-control": "no-store"})

    reply = await serve(route("GET", "/leave", leave, allow=anyone)).get("/leave")
    assert (reply.status_code, reply.content) == (302, b"")
    assert reply.headers["location"] == "https://elsewhere.example/"
    assert reply.headers["cache-control"] == "no-store"


# Rows that can't be bound


class Loose(msgspec.Struct):
    kind: str


def unannotated(_: object, grain) -> None: ...
def two_bodies(_: object, grain: Grain, other: Loose) -> None: ...
def loose(_: object, grain: Loose) -> None: ...
def strange(_: object, grain: asyncio.Queue) -> None: ...
def unsaid(_: object, grain: Grain, once: Once[Flour] | None) -> None: ...
def plain(_: object) -> None: ...


@pytest.mark.parametrize(
    ("path", "handler", "said"),
    [
        ("/a", unannotated, "annotate grain"),
        ("/a", two_bodies, "one Struct comes from the body"),
        ("/a", loose, "it must forbid unknown fields"),
        ("/a", strange, "nothing fills grain"),
        ("/a", unsaid, "say once=True in its row"),
        ("/a/{lost}", plain, "has lost, its handler not"),
    ],
)
def test_a_row_that_can_not_be_bound_stops_the_start(path: str, handler, said: str) -> None:
    with pytest.raises(Miswired, match=said):
        Endpoint("mill", route("POST", path, handler, allow=anyone), None, {})
