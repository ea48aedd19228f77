"""The console, as somebody sees and works it: at every width and scheme, by keyboard, without
scripts."""

import re
from statistics import median

import httpx
import pytest

PAGES = {
    "home": "/",
    "all-settings": "/settings",
    "about": "/systems/console",
    "settings": "/systems/ids/settings",
    "backends": "/systems/sql/backends",
    "metrics": "/systems/sql/metrics",
    "metrics-of-doors": "/systems/console/metrics",
    "no-backends": "/systems/console/backends",
}
RATE = re.compile(r"(<0\.1|\d+(\.\d)?)/s")
RATE_OF_SOME = re.compile(r"^(?!0/s)\S+/s$")
IDLE_MS = 30_000  # a rate is of ten seconds, and clicks are written a little later
LOADED_BYTES_MAX = 150_000
ANSWER_MS_MAX = 100


@pytest.fixture
def at_localhost(town):
    """The main address as a person writes it."""
    return town.http.replace("127.0.0.1", "localhost")


@pytest.mark.box("console.no-barriers")
@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_without_barriers_and_fits_its_width(
    town, page, faults_of, look, name
) -> None:
    width, scheme = look
    tab = page(town.http + PAGES[name], width=width, scheme=scheme)
    assert tab.locator("h1").count() == 1
    assert faults_of(tab, f"{name}-{width}-{scheme}") == []


@pytest.mark.box("console.no-barriers")
@pytest.mark.parametrize("name", ["sql", "ids", "shortener"])
def test_a_readme_is_without_barriers_and_fits_a_narrow_page(town, page, faults_of, name) -> None:
    tab = page(f"{town.http}/systems/{name}", width=360)
    assert faults_of(tab, f"readme-{name}") == []


@pytest.mark.box("console.no-barriers")
def test_a_problem_page_is_without_barriers(town, page, faults_of, look) -> None:
    width, scheme = look
    tab = page(f"{town.http}/systems/nothing", width=width, scheme=scheme, expected=(404,))
    assert "no system 'nothing'" in tab.locator("main").inner_text()
    assert faults_of(tab, f"problem-{width}-{scheme}") == []


@pytest.mark.box("console.palette")
def test_the_palette_is_without_barriers_open(town, page, faults_of, look) -> None:
    width, scheme = look
    tab = page(town.http, width=width, scheme=scheme)
    tab.keyboard.press("Control+k")
    assert faults_of(tab, f"palette-{width}-{scheme}") == []


@pytest.mark.box("console.palette")
def test_the_palette_goes_to_a_system_by_keyboard_alone(town, page) -> None:
    tab = page(town.http)
    tab.keyboard.press("Control+k")
    tab.keyboard.type("sql metr")
    assert tab.locator("#palette li:visible").count() == 1
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/systems/sql/metrics")


@pytest.mark.box("console.palette")
def test_the_palette_takes_arrows_and_gives_the_focus_back(town, page) -> None:
    tab = page(town.http)
    opener = tab.get_by_role("button", name="Go to")
    opener.focus()
    tab.keyboard.press("Enter")
    tab.keyboard.type("settings")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowDown")
    second = tab.locator("#palette li:visible a").nth(1)
    assert second.evaluate("(e) => e === document.activeElement")
    tab.keyboard.press("ArrowUp")
    tab.keyboard.press("ArrowUp")
    assert tab.locator("#palette-filter").evaluate("(e) => e === document.activeElement")
    tab.keyboard.press("Escape")
    assert not tab.locator("#palette").is_visible()
    assert opener.evaluate("(e) => e === document.activeElement")


@pytest.mark.box("console.palette")
def test_the_palette_does_an_action(town, page) -> None:
    tab = page(town.http, scheme="light")
    tab.keyboard.press("Control+k")
    tab.keyboard.type("colours dark")
    tab.keyboard.press("Enter")
    assert tab.locator("html").get_attribute("data-scheme") == "dark"
    assert not tab.locator("#palette").is_visible()


@pytest.mark.box("console.map")
def test_a_short_link_that_is_clicked_lights_up_its_edge(town, page) -> None:
    home, reader = page(town.http), page(town.address("shortener") + "/")
    reader.get_by_label("Long address").fill("https://example.com/far/away")
    reader.get_by_role("button", name="Shorten").click()
    short = reader.get_by_role("link", name="Follow it").get_attribute("href")
    reader.close()
    edge, figure = home.locator("#edge-shortener-bus"), home.locator("#figure-shortener-bus")
    figure.wait_for()  # of the shortening, which must be over before the click
    home.locator("#edge-shortener-bus.weight-0").wait_for(timeout=IDLE_MS, state="attached")
    assert figure.count() == 0
    assert home.request.get(short, max_redirects=0).status == 302  # no further than our answer
    figure.wait_for()
    assert RATE.fullmatch((figure.text_content() or "").strip())
    assert "weight-0" not in (edge.get_attribute("class") or "")


@pytest.mark.box("console.no-barriers")
def test_the_map_at_work_is_without_barriers_and_the_tables_say_its_rates(
    town, page, faults_of, look
) -> None:
    width, scheme = look
    tab = page(town.http, width=width, scheme=scheme)
    httpx.get(f"{town.address('ids')}/api/new", params={"count": 3}).raise_for_status()
    row = tab.get_by_role("row").filter(has=tab.get_by_role("rowheader", name="ids"))
    row.locator("td[data-label='from outside']").get_by_text(RATE_OF_SOME).wait_for()
    assert faults_of(tab, f"map-{width}-{scheme}") == []


@pytest.mark.box("console.map-lights")
def test_a_figure_that_changed_fades_for_who_wants_motion(town, page) -> None:
    tab = page(town.http)
    tab.emulate_media(reduced_motion="no-preference")
    httpx.get(f"{town.address('ids')}/api/new", params={"count": 3}).raise_for_status()
    lit = tab.locator("#figure-outside-ids[class*=lit-]")
    lit.wait_for()
    style = (
        "(e) => [getComputedStyle(e).animationName, getComputedStyle(e).animationIterationCount]"
    )
    name, times = lit.evaluate(style)
    assert (name.startswith("light-up"), times) == (True, "1")
    tab.emulate_media(reduced_motion="reduce")
    assert tab.locator("#figure-outside-ids").evaluate(style)[0] == "none"


@pytest.mark.box("console.map-table")
def test_a_narrow_page_has_the_tables_instead_of_the_map(town, page) -> None:
    tab = page(town.http, width=360)
    assert not tab.locator(".map").is_visible()
    assert tab.get_by_role("table").count() == 2
    assert tab.get_by_role("rowheader", name="shortener").is_visible()


@pytest.mark.box("console.map")
def test_a_system_on_the_map_leads_to_its_page_by_keyboard(town, page) -> None:
    tab = page(town.http)
    tab.get_by_role("link", name=re.compile("^sql, .* a second, well$")).focus()
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/systems/sql")


def paper(tab) -> str:
    found: str = tab.evaluate("() => getComputedStyle(document.body).backgroundColor")
    return found


@pytest.mark.box("console.light-and-dark")
def test_colours_follow_the_system_until_somebody_chooses(town, page) -> None:
    light, dark = page(town.http, scheme="light"), page(town.http, scheme="dark")
    assert paper(light) != paper(dark)
    switch = light.get_by_role("button", name="Colours: as the system")
    switch.click()
    light.get_by_role("button", name="Colours: light").click()
    assert paper(light) == paper(dark)
    light.reload()
    assert paper(light) == paper(dark), "the choice was forgotten"
    light.get_by_role("button", name="Colours: dark").click()
    assert light.locator("html").get_attribute("data-scheme") is None


@pytest.mark.box("console.light-and-dark")
def test_a_choice_of_colours_holds_on_another_address_of_the_town(town, page) -> None:
    tab = page(town.http, scheme="light")
    tab.get_by_role("button", name="Colours: as the system").click()
    tab.get_by_role("button", name="Colours: light").click()
    tab.goto(town.address("shortener") + "/")
    assert tab.locator("html").get_attribute("data-scheme") == "dark"


@pytest.mark.box("console.without-scripts")
@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES)
def test_a_page_says_the_same_without_scripts(town, page, path) -> None:
    tab = page(town.http + path, scripts=False)
    assert tab.locator("h1").is_visible()
    assert tab.locator("#rail").is_visible()
    assert tab.locator(".needs-script:visible").count() == 0


@pytest.mark.box("console.without-scripts")
def test_the_rail_opens_on_a_narrow_page_without_scripts(town, page) -> None:
    tab = page(town.http, width=360, scripts=False)
    assert not tab.locator("#rail").is_visible()
    tab.get_by_role("button", name="Systems").click()
    tab.locator("#rail").get_by_role("link", name="sql").click()
    assert tab.locator("h1").inner_text() == "sql"


def test_the_first_stop_of_the_keyboard_skips_to_the_page(town, page) -> None:
    tab = page(town.http)
    tab.keyboard.press("Tab")
    assert tab.locator(".skip").is_visible()
    tab.keyboard.press("Enter")
    tab.keyboard.press("Tab")
    assert tab.evaluate("() => document.activeElement.closest('main') !== null")


def test_every_stop_of_the_keyboard_shows_that_it_has_the_focus(town, page) -> None:
    tab = page(f"{town.http}/systems/sql/metrics")
    stops = tab.locator("a[href]:visible, button:visible, [tabindex='0']:visible").count()
    for _ in range(stops):
        tab.keyboard.press("Tab")
        seen = tab.evaluate(
            """() => {
                const e = document.activeElement, style = getComputedStyle(e)
                return [e.outerHTML.slice(0, 100), style.outlineStyle, style.outlineWidth]
            }"""
        )
        assert seen[1:] == ["solid", "2px"], seen


def test_nothing_moves_for_a_reader_who_wants_no_motion(town, page) -> None:
    moving = """() => [...document.querySelectorAll("*")].map((e) => getComputedStyle(e))
        .filter((s) => s.transitionDuration !== "0s" || s.animationName !== "none").length"""
    tab = page(town.http)
    assert tab.evaluate(moving) == 0
    tab.emulate_media(reduced_motion="no-preference")
    assert tab.evaluate(moving) > 0, "this test sees no motion where there is some"


def live_requests(tab) -> list[str]:
    asked: list[str] = []
    tab.on("request", lambda r: asked.append(r.url) if "/fragments/" in r.url else None)
    return asked


@pytest.mark.box("console.live-while-seen")
def test_live_parts_ask_every_two_seconds_and_only_while_seen(town, page) -> None:
    tab = page(town.http)
    tab.clock.install()
    tab.reload()
    asked = live_requests(tab)
    with tab.expect_response("**/fragments/town"), tab.expect_response(re.compile("/rail")):
        tab.clock.run_for(2_100)
    assert len(asked) == 2
    tab.evaluate("() => Object.defineProperty(document, 'hidden', {get: () => true})")
    tab.clock.run_for(10_000)
    assert len(asked) == 2


@pytest.mark.box("console.live-while-seen")
def test_a_renewed_part_shows_what_was_counted_and_keeps_the_focus(town, page) -> None:
    tab = page(f"{town.http}/systems/ids/metrics")
    tab.clock.install()
    tab.reload()
    link = tab.locator("#rail a", has_text="shortener")
    link.focus()
    httpx.get(f"{town.address('ids')}/api/new", params={"count": 3}).raise_for_status()
    with tab.expect_response("**/fragments/systems/ids/metrics"):
        tab.clock.run_for(2_100)
    tab.get_by_role("region", name="Requests at the doors of ids").wait_for()
    assert link.evaluate("(e) => e === document.activeElement")


@pytest.mark.box("console.live-while-seen")
def test_a_part_that_is_not_renewed_says_so_and_keeps_what_it_shows(town, page) -> None:
    tab = page(town.http, expected=(503,))
    tab.clock.install()
    tab.reload()
    tab.route("**/fragments/**", lambda route: route.fulfill(status=503, body="<p>away</p>"))
    tab.clock.run_for(2_100)
    tab.get_by_text("The town does not answer.").wait_for()
    assert tab.locator("#town-live").get_by_role("link", name="sql").first.is_visible()
    tab.unroute("**/fragments/**")
    tab.clock.run_for(2_100)
    tab.get_by_text("The town does not answer.").wait_for(state="hidden")


@pytest.mark.box("console.one-shell")
def test_a_page_on_an_address_of_its_own_leads_back_to_the_town(town, page, at_localhost) -> None:
    tab = page(town.address("shortener").replace("127.0.0.1", "localhost") + "/")
    assert tab.locator("#rail a[aria-current]").inner_text().startswith("shortener")
    tab.locator("#rail").get_by_role("link", name="Metrics").click()
    assert tab.url == f"{at_localhost}/systems/shortener/metrics"
    tab.locator("#rail").get_by_role("link", name="shortener").click()
    assert tab.url == town.address("shortener").replace("127.0.0.1", "localhost") + "/"
    tab.locator("#rail").get_by_role("link", name="The town").click()
    assert tab.url == f"{at_localhost}/"


def test_a_line_to_try_is_copied(town, page, browser) -> None:
    tab = page(f"{town.http}/systems/ids")
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    button = tab.locator("[data-copy]").first
    button.click()
    tab.get_by_role("button", name="Copied").wait_for()
    assert tab.evaluate("() => navigator.clipboard.readText()").startswith("curl ")


@pytest.mark.box("console.light-pages")
@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES)
def test_a_page_is_light_with_all_that_it_loads(town, page, path) -> None:
    tab = page(town.http)
    loaded: list[int] = []
    tab.on("response", lambda r: loaded.append(len(r.body())))
    tab.goto(town.http + path, wait_until="networkidle")
    assert sum(loaded) < LOADED_BYTES_MAX


@pytest.mark.box("console.light-pages")
@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES)
def test_a_page_is_answered_at_once(town, path) -> None:
    with httpx.Client(base_url=town.http) as client:
        client.get(path)  # the first one compiles its template
        times_ms = [client.get(path).elapsed.total_seconds() * 1000 for _ in range(9)]
    assert median(times_ms) < ANSWER_MS_MAX
