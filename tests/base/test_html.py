"""The shell, pages in it, and the macros that they are made of."""

import hashlib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from xml.etree import ElementTree

import pytest

from bastide.base.errors import (
    Conflict,
    Denied,
    Gone,
    Invalid,
    Limited,
    Mismatch,
    NotFound,
    Refusal,
    TooLarge,
    Unauthenticated,
    Unavailable,
    shown,
)
from bastide.base.gate import Caller
from bastide.base.html import charts
from bastide.base.html.pages import Pages, read_asset
from bastide.base.html.shell import TryLine, as_read, main_address, shell_of, tell_shell
from bastide.base.levels import level_of
from bastide.base.manifest import Address, Manifest
from bastide.base.metrics import BUCKETS_S, Registry
from bastide.base.routes.rows import NoSuchPage, Reply, Request, route

PACKAGE = Path(sys.modules["bastide"].__file__ or "").parent
HTML = PACKAGE / "base/html"
OPERATOR = Caller(operator=True)
STRANGER = Caller(address="192.0.2.1")


# the town that pages stand in


def show(system: object, request: Request, pages: Pages) -> Reply: ...


def read(system: object, code: str) -> None: ...


def shorten_by_form(system: object, request: Request, pages: Pages) -> Reply: ...


PAGE_ROWS = (
    route("GET", "/", show, allow=lambda caller: None, html=True),
    route("POST", "/", shorten_by_form, allow=lambda caller: None, html=True, form=True),
    route("POST", "/nowhere", shorten_by_form, allow=lambda caller: None, html=True, form=True),
    route("GET", "/manage", show, allow=lambda caller: None, html=True),
    route("GET", "/{code}", read, allow=lambda caller: None, html=True),
    route("GET", "/api/links", show, allow=lambda caller: None),
)


def manifest(
    name: str, floor: str, *, doors: Sequence[str] = (), port: int = 0, try_line: str = ""
) -> Manifest:
    return Manifest(
        name=name,
        floor=floor,
        summary=f"what {name} is",
        provides=object,
        open=lambda use: None,
        doors=doors,
        address=Address("http", port) if port else None,
        try_line=try_line,
    )


SQL = manifest("sql", "engines")
SHORTENER = manifest("shortener", "apps", doors=(f"{__name__}:PAGE_ROWS",), port=8801)
CONSOLE = manifest("console", "apps", doors=(f"{__name__}:PAGE_ROWS",))


class Town:
    """What pages see of a town: its manifests and where they answer."""

    def __init__(self, *manifests: Manifest, main: str = "http://127.0.0.1:8800") -> None:
        self.manifests = manifests
        self._main = main

    def wire_of(self, system: str) -> str:
        return ""

    def address_of(self, system: str) -> str:
        if system == "shortener":
            return self._main.replace("8800", "8801")
        return f"{self._main}/{system}"


@pytest.fixture(autouse=True)
def this_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Manifests name their doors by module; under importlib this one has no name of its own."""
    module = ModuleType(__name__)
    module.PAGE_ROWS = PAGE_ROWS
    monkeypatch.setitem(sys.modules, __name__, module)


def request(
    path: str = "/",
    *,
    origin: str = "http://localhost:8800",
    caller: Caller = OPERATOR,
    cookie: str = "",
) -> Request:
    headers = {"cookie": cookie} if cookie else {}
    made = Request(method="GET", path=path, query={}, headers=headers, id_="0123", origin=origin)
    made.caller = caller
    return made


TOWN = Town(SQL, SHORTENER, CONSOLE)


# the shell


def test_the_shell_shows_the_operator_every_system_by_floor() -> None:
    shell = shell_of(TOWN, Registry(), request(), at="sql")
    found = [(floor.name, [entry.name for entry in floor.entries]) for floor in shell.floors]
    assert found == [("apps", ["shortener", "console"]), ("engines", ["sql"])]
    [sql] = shell.floors[1].entries
    assert (sql.current, sql.level, sql.href) == (True, level_of("sql"), "/systems/sql")
    assert [part.href for part in shell.parts][:2] == ["/systems/sql", "/systems/sql/settings"]


def test_a_system_with_a_page_is_opened_from_the_rail_at_its_address() -> None:
    shell = shell_of(TOWN, Registry(), request(), at="")
    assert shell.floors[0].entries[0].href == "http://localhost:8801/"


def test_the_palette_has_every_page_that_needs_no_more_than_its_address() -> None:
    shell = shell_of(TOWN, Registry(), request(), at="")
    found = {command.text: command.href for command in shell.commands}
    assert found["Open shortener"] == "http://localhost:8801/"
    assert found["Open shortener manage"] == "http://localhost:8801/manage"
    assert found["shortener: shorten"] == "http://localhost:8801/"
    assert found["sql metrics"] == "/systems/sql/metrics"
    assert not [href for href in found.values() if "{" in href or "/api/" in href]


def test_the_palette_copies_a_line_for_each_system_that_a_shell_can_try() -> None:
    ids = manifest("ids", "engines", try_line="curl '{http}/api/new'")
    opened = manifest("bank", "apps", try_line="open {http}/ in a browser")
    shell = shell_of(Town(SQL, ids, opened, CONSOLE), Registry(), request(), at="")
    assert shell.lines == [TryLine("ids", "curl 'http://localhost:8800/ids/api/new'")]


def test_the_shell_shows_a_stranger_nothing_of_the_town() -> None:
    shell = shell_of(TOWN, Registry(), request(caller=STRANGER), at="shortener")
    assert (shell.floors, shell.commands, shell.lines) == ((), (), ())


def test_without_a_console_nothing_leads_to_its_pages() -> None:
    town = Town(SQL, SHORTENER)
    shell = shell_of(town, Registry(), request(), at="sql")
    assert shell.floors[1].entries[0].href == ""
    assert not shell.parts
    assert not [c.href for c in shell.commands if "/systems/" in c.href or c.href == "/"]
    assert not shell.live


def test_the_rail_has_what_was_told_of_a_system_and_none_before() -> None:
    registry = Registry()
    before = shell_of(TOWN, registry, request(), at="")
    assert (before.floors[1].entries[0].per_s, before.floors[1].entries[0].ok) == (None, None)
    tell_shell(registry, "sql", per_s=lambda: 12.5, ok=lambda: 0.0)
    after = shell_of(TOWN, registry, request(), at="")
    assert (after.floors[1].entries[0].per_s, after.floors[1].entries[0].ok) == (12.5, False)


@pytest.mark.parametrize(
    ("origin", "main"),
    [
        ("http://localhost:8800", ""),
        ("http://localhost:9000", ""),  # a tunnel to the main address
        ("http://localhost:8801", "http://localhost:8800"),
        ("http://127.0.0.1:8801", "http://127.0.0.1:8800"),
        ("http://[::1]:8801", "http://[::1]:8800"),
        ("http://[::1:8801", ""),
        ("http://localhost:88011", ""),
        ("http://localhost:999999", ""),
        ("http://", ""),
        ("", ""),
    ],
)
def test_links_lead_to_the_main_address_from_wherever_the_page_is(origin: str, main: str) -> None:
    assert main_address(TOWN, request(origin=origin)) == main


@pytest.mark.parametrize(
    ("address", "seen"),
    [
        ("http://127.0.0.1:8801", "http://localhost:8801"),
        ("http://0.0.0.0:8801/x", "http://localhost:8801/x"),
        ("http://[::]:8801", "http://localhost:8801"),
        ("https://sho.rt", "https://sho.rt"),
        ("http://192.0.2.7:8801", "http://192.0.2.7:8801"),
    ],
)
def test_an_address_of_this_machine_is_written_as_the_reader_wrote_it(
    address: str, seen: str
) -> None:
    assert as_read(address, request(origin="http://localhost:8800")) == seen


@pytest.mark.parametrize(
    ("cookie", "scheme"),
    [
        ("bastide_scheme=dark", "dark"),
        ("a=b; bastide_scheme=light", "light"),
        ('bastide_scheme="><script>', ""),
        ("bastide_scheme=", ""),
        ("no cookie at all", ""),
        ("", ""),
    ],
)
def test_the_scheme_is_the_cookie_s_if_it_is_one(cookie: str, scheme: str) -> None:
    shell = shell_of(TOWN, Registry(), request(cookie=cookie), at="")
    assert shell.scheme == scheme


# pages


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Renders a template of a system's own, in the shell or, without `block`, as it is."""
    module = ModuleType("a_system_pages")
    module.__file__ = str(tmp_path / "__init__.py")
    monkeypatch.setitem(sys.modules, "a_system_pages", module)
    (tmp_path / "templates").mkdir()

    def render(template: str, *, asked: Request | None = None, **context: object) -> str:
        (tmp_path / "templates/own.html").write_text(template)
        pages = Pages(TOWN, "shortener", "a_system_pages")
        return pages.reply("own.html", asked or request(), **context).body.decode()

    return render


IN_SHELL = '{% extends "shell.html" %}{% block main %}<h1>{{ what }}</h1>{% endblock %}'
MACROS = '{% import "macros.html" as ui %}'


def test_what_a_page_shows_is_escaped(page) -> None:
    assert "<h1>&lt;b&gt;</h1>" in page(IN_SHELL, what="<b>")


@pytest.mark.box("console.strangers-see-no-town")
def test_a_page_tells_a_stranger_its_own_system_alone(page) -> None:
    told = page(IN_SHELL, asked=request(caller=STRANGER), what="x")
    assert "shortener" in told
    assert not [word for word in ("sql", "console", ":8800", ":8801", "/systems/") if word in told]


def test_a_page_of_the_town_has_the_rail_and_the_current_system(page) -> None:
    told = page(IN_SHELL, what="x")
    assert 'href="/systems/sql"' in told
    assert re.search(r'href="http://localhost:8801/" aria-current="true"', told)
    assert f"<title>level: {level_of('sql')}</title>" in told


def test_a_page_is_not_kept_by_caches() -> None:
    reply = Pages(TOWN, "console", None).problem(shown(NotFound("x")), request())
    assert reply.headers["cache-control"] == "no-store"


REFUSALS: Sequence[Refusal] = (
    *(Invalid("i"), Denied("d"), NotFound("n"), Conflict("c"), Unavailable("u")),
    *(TooLarge("t"), Unauthenticated("a"), Gone("g"), Mismatch("m"), NoSuchPage("p")),
    Limited("l", retry_after_s=3),
)


@pytest.mark.box("console.strangers-see-no-town")
@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: type(refusal).__name__)
def test_a_refusal_is_a_page_that_says_what_to_do_and_nothing_of_the_town(refusal) -> None:
    pages = Pages(TOWN, "console", None)
    problem = shown(refusal, instance="urn:bastide:request:7")
    reply = pages.problem(problem, request(caller=STRANGER))
    told = reply.body.decode()
    assert reply.status == refusal.status
    assert problem.title in told
    assert "urn:bastide:request:7" in told
    assert not [word for word in ("sql", "shortener", "console", ":880") if word in told]


def test_a_fault_is_a_page_that_says_nothing_of_its_inside() -> None:
    pages = Pages(TOWN, "console", None)
    reply = pages.problem(shown(KeyError("inside")), request(caller=STRANGER))
    assert reply.status == 500
    assert b"inside" not in reply.body


def test_an_asset_s_address_changes_with_its_bytes_and_is_kept_for_a_year(page) -> None:
    told = page("{{ asset('town.css') }}")
    hashed = hashlib.blake2b((HTML / "static/town.css").read_bytes(), digest_size=6).hexdigest()
    assert told == f"/assets/town.css?{hashed}"
    reply = read_asset(SimpleNamespace(town=TOWN), asked(hashed), "town.css")
    assert reply.content_type == "text/css; charset=utf-8"
    assert "immutable" in reply.headers["cache-control"]


@pytest.mark.parametrize("digest", ["", "000000000000", "0", "x"])
def test_an_asset_under_another_digest_is_what_there_is_and_nobody_keeps_it(digest: str) -> None:
    reply = read_asset(SimpleNamespace(town=TOWN), asked(digest), "town.css")
    assert reply.path == HTML / "static/town.css"
    assert reply.headers["cache-control"] == "no-store"


def asked(digest: str) -> Request:
    """The request for an asset under its digest, or without one."""
    made = request("/assets/town.css")
    made.query = {digest: ""} if digest else {}
    return made


@pytest.mark.parametrize(
    "name",
    [
        *("", "none.css", "../pages.py", "pages.py", "..%2fpages.py", "manifest.toml"),
        *("sql/x.css", "nobody/x.css", "/etc/passwd", "shortener/../town.css"),
    ],
)
def test_only_assets_are_assets(name: str) -> None:
    with pytest.raises(NoSuchPage):
        read_asset(SimpleNamespace(town=TOWN), asked(""), name)


# macros


def html(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<all>{text}</all>")


def test_a_field_is_told_by_its_label_hint_and_error(page) -> None:
    told = page(
        MACROS
        + '{{ ui.field("url", "Long address", hint="as https://...", error="no URL", value=v) }}',
        v='"><b>',
    )
    assert '<label for="url">Long address' in told
    assert 'aria-describedby="url-hint url-error" aria-invalid="true"' in told
    assert '<p class="error" id="url-error">no URL</p>' in told
    assert "<b>" not in told


def test_a_required_field_with_a_hint_has_both(page) -> None:
    told = page(MACROS + '{{ ui.field("key", "Key", hint="As given.", required=true) }}')
    assert ' required aria-describedby="key-hint"' in told


def test_a_field_without_notes_has_no_description(page) -> None:
    told = page(MACROS + '{{ ui.field("url", "Long address", required=true) }}')
    assert "aria-" not in told
    assert " required" in told


def test_a_choice_keeps_what_was_chosen(page) -> None:
    told = page(
        MACROS + '{{ ui.choice("days", "Ends", [("1", "in a day"), ("7", "in a week")], "7") }}'
    )
    assert '<option value="7" selected>in a week</option>' in told
    assert '<option value="1">in a day</option>' in told


def test_a_status_is_said_in_words_too(page) -> None:
    told = page(MACROS + "{{ ui.status(true) }}{{ ui.status(false) }}{{ ui.status(none) }}")
    assert re.findall(r">([^<]+)</span>", told) == ["well", "not well", "not asked yet"]


def test_a_table_has_a_caption_heads_and_a_name_for_its_region(page) -> None:
    told = html(
        page(MACROS + '{{ ui.table("Links", ["Code", ("Clicks", "number")], [["a", 7]]) }}')
    )
    assert told.find("div").get("aria-label") == "Links"
    assert [th.get("scope") for th in told.iter("th")] == ["col", "col"]
    assert [(td.get("class"), td.text) for td in told.iter("td")] == [(None, "a"), ("number", "7")]


def test_an_empty_state_says_what_to_do(page) -> None:
    told = page(MACROS + '{% call ui.empty("No link yet") %}<p>Paste one.</p>{% endcall %}')
    assert "No link yet" in told
    assert "<p>Paste one.</p>" in told


def test_a_level_is_drawn_and_named(page) -> None:
    told = page(MACROS + '{{ ui.level("silver") }}{{ ui.level("unrated") }}')
    assert told.count('class="reached"') == 2
    assert 'aria-label="level: unrated"' in told


def test_a_line_of_rates_has_a_title_and_a_description_for_readers(page) -> None:
    told = page(
        MACROS + '{{ ui.rate_line("calls", "Calls", line, "5 min") }}',
        line=charts.line([0, 20, 10]),
    )
    assert 'aria-labelledby="calls-title calls-text"' in told
    assert "now 10 a second, at most 20 in the last 5 min" in told


def test_a_histogram_marks_p50_and_p99(page) -> None:
    counts = [0] * (len(BUCKETS_S) + 1)
    counts[BUCKETS_S.index(0.001)], counts[BUCKETS_S.index(0.1)] = 98, 2
    made = charts.histogram(BUCKETS_S, counts)
    told = page(MACROS + '{{ ui.latencies("times", "Time", made) }}', made=made)
    assert "100 timed; half within 1 ms, 99 of 100 within 100 ms" in told
    assert re.findall(r'class="mark (p\d+)"', told) == ["p50", "p99"]


def test_charts_of_nothing_say_so(page) -> None:
    nothing = charts.histogram(BUCKETS_S, [0] * (len(BUCKETS_S) + 1))
    told = page(
        MACROS + '{{ ui.latencies("a", "A", made) }}{{ ui.rate_line("b", "B", line, "0 s") }}',
        made=nothing,
        line=charts.line([]),
    )
    assert "<svg" not in told
    assert "Nothing was timed yet" in told
