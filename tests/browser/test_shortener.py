"""Paste a link, get a short one, follow it, see the count: as a person does."""

import httpx
import pytest
from playwright.sync_api import expect

LONG = "https://example.com/a/rather/long/address/that/nobody/wants/to/type?with=a&query=too"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Version/17.0 Mobile Safari/604.1"
KUTT = "Short URL,Long URL,Description\nhttps://kutt.it/{0},https://kutt.example/{0},From Kutt\n"


@pytest.fixture
def address(town):
    return town.address("shortener")


def shorten(tab, url=LONG, code=""):
    tab.get_by_label("Long address").fill(url)
    if code:
        more(tab)
        tab.get_by_label("Code").fill(code)
    tab.get_by_role("button", name="Shorten").first.click()


def more(tab):
    """Opens what stands below the first field, if it is shut."""
    if not tab.locator("details.more").evaluate("details => details.open"):
        tab.get_by_text("Code, end, tags").click()


def short_link(tab):
    """The address on the page that shows a new link."""
    return tab.get_by_role("link", name="Follow it").get_attribute("href")


def follow(tab, short):
    """As its browser would, but no further than our answer."""
    reply = tab.request.get(short, max_redirects=0)
    assert reply.status == 302
    return reply.headers["location"]


def key_in(tab):
    return tab.evaluate("localStorage.getItem('bastide.shortener.key')")


class Owner:
    """Makes links by the API, and gives its key to a tab."""

    def __init__(self, address):
        self._client = httpx.Client(base_url=address, headers={"connection": "close"})
        made = self.make("https://example.com/first")
        self.key = made["manage_key"]
        self._client.headers["authorization"] = f"Bearer {self.key}"
        assert self._client.delete(f"/api/{made['short_code']}").is_success

    def make(self, url=LONG, **more):
        reply = self._client.post("/api/shorten", json={"original_url": url, **more})
        assert reply.is_success, reply.text
        return reply.json()

    def read(self, code):
        return self._client.get(f"/api/{code}").json()

    def links(self):
        return self._client.get("/api/links").json()["items"]

    def give_key(self, tab):
        tab.evaluate("key => localStorage.setItem('bastide.shortener.key', key)", self.key)


@pytest.fixture
def owner(address):
    return Owner(address)


@pytest.fixture
def own(address, page, owner):
    """`own("links")`: a tab on that page, in a browser that has the owner's key."""

    def open_own(path, **more):
        tab = page(f"{address}/", **more)
        owner.give_key(tab)
        tab.goto(f"{address}/{path}")
        return tab

    return open_own


@pytest.mark.box("shortener.page")
def test_a_person_shortens_follows_and_sees_the_count(address, page, faults_of, look) -> None:
    width, scheme = look
    tab = page(f"{address}/", width=width, scheme=scheme)
    tab.get_by_text("No link yet").wait_for()
    assert faults_of(tab, f"shortener-empty-{width}-{scheme}") == []
    shorten(tab)
    short = short_link(tab)
    tab.get_by_text("Live", exact=True).wait_for()
    assert follow(tab, short) == LONG
    tab.locator("[data-total]", has_text="1").wait_for()  # without loading the page again
    assert faults_of(tab, f"shortener-made-{width}-{scheme}") == []
    tab.get_by_role("link", name="Shorten another").click()
    row = tab.get_by_role("listitem").filter(has_text=short.rpartition("/")[2])
    row.get_by_text("1 click", exact=True).wait_for()
    follow(tab, short)
    row.get_by_text("2 clicks").wait_for()
    assert faults_of(tab, f"shortener-home-{width}-{scheme}") == []
    row.get_by_role("link", name="Manage").click()
    tab.locator("[data-total]", has_text="2").wait_for()
    assert faults_of(tab, f"shortener-link-{width}-{scheme}") == []


@pytest.mark.box("shortener.page")
def test_the_pages_of_an_owner_are_without_barriers_too(owner, own, faults_of, look) -> None:
    width, scheme = look
    rules = [{"when": {"system": ["ios"], "country": ["FI"]}, "original_url": "https://fi.example"}]
    code = owner.make(title="With a title", tags=["tag", "other"], rules=rules)["short_code"]
    owner.make("https://example.com/" + "long/" * 60, visits_max=3)
    tab = own("links", width=width, scheme=scheme, expected=(400, 403))
    tab.get_by_label(f"Choose {code}").check()
    assert faults_of(tab, f"shortener-links-{width}-{scheme}") == []
    tab.get_by_role("button", name="Delete").click()
    assert faults_of(tab, f"shortener-ask-{width}-{scheme}") == []
    tab.get_by_role("button", name="Keep them").click()
    tab.get_by_text("Import from").click()
    tab.get_by_label("or the text itself").fill("https://example.com/imported\nnonsense")
    tab.get_by_role("button", name="Import", exact=True).click()
    tab.get_by_text("1 refused").wait_for()
    assert faults_of(tab, f"shortener-import-{width}-{scheme}") == []
    tab.goto(f"{tab.url.rpartition('/')[0]}/links/{code}")
    tab.get_by_text("No click yet").wait_for()
    tab.get_by_text("Delete it").click()
    tab.get_by_label("Long address").fill("javascript:alert(1)")
    tab.get_by_role("button", name="Save").click()
    tab.get_by_text("Nothing was saved").wait_for()
    assert faults_of(tab, f"shortener-edit-{width}-{scheme}") == []
    tab.evaluate("localStorage.setItem('bastide.shortener.key', '0'.repeat(22))")
    tab.reload()
    tab.get_by_text("This key does not manage").wait_for()
    assert faults_of(tab, f"shortener-key-{width}-{scheme}") == []


@pytest.mark.box("shortener.page")
def test_the_pages_for_anybody_are_without_barriers_too(
    address, page, owner, faults_of, look
) -> None:
    width, scheme = look
    code = owner.make("https://example.com/" + "long/" * 60)["short_code"]
    tab = page(f"{address}/{code}+", width=width, scheme=scheme, expected=(400, 404, 410))
    tab.get_by_text("Report it").first.click()
    assert faults_of(tab, f"shortener-preview-{width}-{scheme}") == []
    tab.get_by_label("What is wrong with it").fill("It asks for passwords")
    tab.get_by_role("button", name="Report it").click()
    tab.get_by_role("heading", name="Thank you").wait_for()
    assert faults_of(tab, f"shortener-reported-{width}-{scheme}") == []
    tab.goto(f"{address}/reports")
    assert faults_of(tab, f"shortener-reports-{width}-{scheme}") == []
    row = tab.get_by_role("listitem").filter(has_text=code)
    row.get_by_role("button", name="Block").click()
    tab.get_by_text(f"{code} is blocked").wait_for()
    tab.goto(f"{address}/{code}")
    tab.get_by_role("heading", name="was blocked by the operator").wait_for()
    assert faults_of(tab, f"shortener-gone-{width}-{scheme}") == []
    tab.goto(f"{address}/")
    shorten(tab, "javascript:alert(1)", "mine")
    assert faults_of(tab, f"shortener-refused-{width}-{scheme}") == []
    tab.goto(f"{address}/manage")
    assert faults_of(tab, f"shortener-manage-{width}-{scheme}") == []


# Shortening


def test_the_copy_button_copies_the_short_link(address, page) -> None:
    tab = page(f"{address}/")
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    shorten(tab)
    tab.get_by_role("button", name="Copy").first.click()
    tab.get_by_role("button", name="Copied").wait_for()
    assert tab.evaluate("navigator.clipboard.readText()") == short_link(tab)


def test_a_new_link_has_its_qr_code_to_see_and_to_take_away(address, page) -> None:
    tab = page(f"{address}/")
    shorten(tab)
    image = tab.get_by_alt_text("QR code of")
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth > 0)")
    with tab.expect_download() as download:
        tab.get_by_role("link", name="PNG").click()
    assert download.value.path().read_bytes().startswith(b"\x89PNG")


def test_links_made_in_one_browser_belong_to_one_key(address, page) -> None:
    tab = page(f"{address}/")
    for n in range(3):
        shorten(tab, f"{LONG}&n={n}")
        tab.get_by_role("link", name="Shorten another").click()
    tab.get_by_role("listitem").get_by_role("link", name="Manage").nth(2).wait_for()
    assert tab.get_by_role("listitem").get_by_role("link", name="Manage").count() == 3


def test_a_new_link_s_page_loaded_again_makes_no_other(address, page) -> None:
    tab = page(f"{address}/")
    shorten(tab, code="once-only")
    tab.get_by_text("Live", exact=True).wait_for()
    tab.reload()
    tab.get_by_role("heading", name="Change it").wait_for()
    assert tab.url == f"{address}/links/once-only"


def test_what_is_wrong_is_said_at_its_field(address, page) -> None:
    tab = page(f"{address}/", expected=(400, 409))
    shorten(tab, "javascript:alert(1)", "mine")
    field = tab.get_by_label("Long address")
    assert field.get_attribute("aria-invalid") == "true"
    assert field.input_value() == "javascript:alert(1)"
    assert tab.get_by_label("Code").input_value() == "mine"
    shorten(tab, LONG, "api")
    tab.get_by_text("The code 'api' is reserved").wait_for()


def test_what_will_be_made_is_said_while_it_is_typed(address, page) -> None:
    tab = page(f"{address}/")
    draft = tab.locator(".draft")
    tab.get_by_label("Long address").fill("example.com/spring")
    draft.get_by_text("leads to example.com/spring; it ends in a year").wait_for()
    more(tab)
    tab.get_by_label("Code").fill("x y")
    draft.get_by_text("A code has 3 to 32").wait_for()
    tab.get_by_label("Code").fill("spring")
    draft.get_by_text(f"{address.partition('://')[2]}/spring", exact=True).wait_for()
    draft.get_by_text("has the right form").wait_for()
    tab.get_by_label("Limit of visits").fill("5")
    tab.get_by_label("Ends", exact=True).select_option("7")
    draft.get_by_text("ends in a week, or after 5 visits").wait_for()
    tab.get_by_label("Long address").fill("javascript:1")
    draft.get_by_text("That is no address yet").wait_for()


def test_an_end_is_taken_in_the_reader_s_own_time(address, page, owner) -> None:
    tab = page(f"{address}/")
    owner.give_key(tab)
    session = tab.context.new_cdp_session(tab)
    session.send("Emulation.setTimezoneOverride", {"timezoneId": "America/New_York"})
    tab.reload()
    more(tab)
    tab.get_by_text("America/New_York").first.wait_for()
    tab.locator("#expires_at").fill("2030-01-10T09:00")
    shorten(tab, code="new-york")
    tab.get_by_text("Live", exact=True).wait_for()
    assert owner.read("new-york")["expires_at"] == "2030-01-10T14:00:00Z"
    tab.get_by_role("button", name="See clicks and manage").click()
    assert tab.locator("#expires_at").input_value() == "2030-01-10T09:00"
    tab.get_by_text("Jan 10, 2030, 9:00").wait_for()


def test_the_form_is_filled_and_sent_by_keyboard_alone(address, page) -> None:
    tab = page(f"{address}/")
    expect(tab.get_by_label("Long address")).to_be_focused()  # a frame after the page has loaded
    tab.keyboard.type(LONG)
    tab.keyboard.press("Enter")
    tab.get_by_role("heading", name="Your short link").wait_for()


# Rules


@pytest.mark.box("shortener.rules")
def test_rules_are_built_ordered_and_taken_by_who_follows(address, page, owner) -> None:
    tab = page(f"{address}/")
    owner.give_key(tab)
    tab.reload()
    more(tab)
    tab.get_by_role("button", name="Add a rule").click()
    tab.get_by_label("Condition 1 of rule 1", exact=True).select_option("language")
    tab.get_by_label("Language to add").fill("de")
    tab.keyboard.press("Enter")
    tab.get_by_label("Address of rule 1").fill("https://de.example/")
    tab.get_by_role("button", name="Add another rule").click()
    tab.get_by_label("Condition 1 of rule 2", exact=True).select_option("system")
    tab.get_by_role("group", name="System, rule 2").get_by_label("iOS").check()
    tab.get_by_role("button", name="Add a condition to rule 2").click()
    tab.get_by_label("Condition 2 of rule 2", exact=True).select_option("query")
    tab.get_by_label("Name of the parameter").fill("from")
    tab.get_by_label("Its value").fill("a mail")
    tab.get_by_label("Address of rule 2").fill("apps.example")
    tab.get_by_role("button", name="Move rule 2 up").click()
    shorten(tab, code="ruled")
    tab.get_by_text("Live", exact=True).wait_for()
    assert owner.read("ruled")["rules"] == [
        {
            "when": {"system": ["ios"], "query": {"from": "a mail"}},
            "original_url": "https://apps.example",
        },
        {"when": {"language": ["de"]}, "original_url": "https://de.example/"},
    ]
    headers = {"user-agent": IPHONE, "accept-language": "de"}
    for query, leads_to in (
        ("?from=a%20mail", "https://apps.example"),
        ("", "https://de.example/"),
    ):
        reply = httpx.get(f"{address}/ruled{query}", headers=headers)
        assert reply.headers["location"] == leads_to


@pytest.mark.box("shortener.rules")
def test_rules_of_a_link_are_changed_and_taken_away(owner, own) -> None:
    rules = [
        {"when": {"country": ["FI", "SE"]}, "original_url": "https://north.example/"},
        {"when": {"device": ["mobile"]}, "original_url": "https://m.example/"},
    ]
    code = owner.make(rules=rules)["short_code"]
    tab = own(f"links/{code}")
    tab.get_by_role("button", name="Remove SE").click()
    tab.get_by_label("Country to add").fill("Norway")
    tab.keyboard.press("Tab")
    tab.get_by_role("button", name="Remove rule 2").click()
    tab.get_by_role("button", name="Save").click()
    tab.get_by_text("Saved.").wait_for()
    assert [rule["when"] for rule in owner.read(code)["rules"]] == [{"country": ["FI", "NO"]}]
    tab.get_by_role("button", name="Write them as text").click()
    area = tab.locator("#rules")
    assert area.input_value() == "country FI NO -> https://north.example/"
    area.fill("country FI -> https://fi.example/\ndevice tablet -> https://t.example/")
    tab.get_by_role("button", name="Use the editor").click()
    tab.get_by_label("Address of rule 2").wait_for()
    with tab.expect_response(lambda reply: reply.request.method == "POST"):
        tab.get_by_role("button", name="Save").click()
    assert len(owner.read(code)["rules"]) == 2


def test_a_rule_that_is_refused_is_named_and_stays_in_the_editor(owner, own) -> None:
    code = owner.make()["short_code"]
    tab = own(f"links/{code}", expected=(400,))
    tab.get_by_role("button", name="Add a rule").click()
    tab.get_by_role("group", name="Device, rule 1").get_by_label("Phone").check()
    tab.get_by_role("button", name="Save").click()
    tab.locator("#rules-error", has_text="Rule 1 leads nowhere").wait_for()
    assert tab.get_by_role("group", name="Device, rule 1").get_by_label("Phone").is_checked()


# One link


@pytest.mark.box("shortener.live")
def test_clicks_arrive_on_the_open_page_with_what_they_tell(owner, own, address) -> None:
    code = owner.make()["short_code"]
    tab = own(f"links/{code}")
    tab.get_by_text("No click yet").wait_for()
    tab.get_by_text("Live", exact=True).wait_for()
    phone = {"user-agent": IPHONE, "referer": "https://news.example/thread"}
    assert httpx.get(f"{address}/{code}", headers=phone).status_code == 302
    tab.locator("[data-total]", has_text="1").wait_for()
    tab.get_by_role("img", name="The last 30 days").wait_for()
    tab.get_by_text("news.example").wait_for()
    tab.get_by_text("Day by day").click()
    assert httpx.get(f"{address}/{code}", headers={"user-agent": "Googlebot"}).status_code == 302
    tab.locator("[data-bots]", has_text="1").wait_for()
    tab.locator(".column.upper").wait_for()
    table = tab.get_by_role("region", name="Clicks by day")
    table.get_by_role("row").nth(1).get_by_text("1").nth(1).wait_for()
    assert table.is_visible()  # what was open stays open


@pytest.mark.box("shortener.live")
def test_a_page_that_lost_the_town_says_so_and_is_live_again(owner, own, address) -> None:
    code = owner.make()["short_code"]
    tab = own("links", expected=(503,))
    tab.route("**/api/*/clicks", lambda route: route.fulfill(status=503))
    tab.goto(f"{address}/links/{code}")
    tab.get_by_text("Not live").wait_for()
    tab.unroute("**/api/*/clicks")
    tab.get_by_text("Live", exact=True).wait_for()
    httpx.get(f"{address}/{code}", headers={"user-agent": IPHONE})
    tab.locator("[data-total]", has_text="1").wait_for()


def test_the_owner_switches_a_link_off_and_on_and_deletes_it(address, page) -> None:
    tab = page(f"{address}/", expected=(410,))
    shorten(tab)
    short = short_link(tab)
    tab.get_by_role("button", name="See clicks and manage").click()
    tab.get_by_role("button", name="Switch off").click()
    tab.get_by_text("Switched off: nobody").wait_for()
    assert tab.request.get(short, max_redirects=0).status == 410
    tab.get_by_role("button", name="Switch on").click()
    tab.get_by_role("button", name="Switch off").wait_for()
    assert follow(tab, short) == LONG
    tab.get_by_text("Delete it").click()
    tab.get_by_role("button", name="Delete").click()
    tab.get_by_role("heading", name="The link is deleted").wait_for()
    tab.goto(short)
    tab.get_by_text("was deleted").wait_for()


def test_the_owner_changes_a_link_and_is_told(owner, own) -> None:
    code = owner.make(title="Old")["short_code"]
    tab = own(f"links/{code}")
    tab.get_by_label("Title").fill("New")
    tab.get_by_label("Tags").fill("a, b")
    tab.get_by_label("Limit of visits").fill("9")
    tab.get_by_role("button", name="Save").click()
    tab.get_by_role("status").get_by_text("Saved.").wait_for()
    tab.get_by_role("heading", name="New").wait_for()
    tab.get_by_text("9 of 9").wait_for()
    link = owner.read(code)
    assert (link["title"], link["tags"], link["visits_max"]) == ("New", ["a", "b"], 9)


def test_another_browser_manages_with_the_key(address, page) -> None:
    tab = page(f"{address}/")
    shorten(tab)
    tab.get_by_text("Live", exact=True).wait_for()
    other = page(f"{address}/manage", expected=(403,))
    other.get_by_label("Short link").fill(short_link(tab))
    other.get_by_label("Its key").fill("0" * 22)
    other.get_by_role("button", name="Show it").click()
    other.get_by_text("This key does not manage the link").wait_for()
    other.get_by_label("Its key").fill(key_in(tab))
    other.get_by_role("button", name="Show it").click()
    other.locator("[data-total]", has_text="0").wait_for()


def test_a_town_that_is_away_is_told_and_what_was_typed_stays(owner, own) -> None:
    code = owner.make()["short_code"]
    tab = own(f"links/{code}", expected=(503,))
    tab.get_by_label("Title").fill("Kept")
    tab.route("**/manage", lambda route: route.fulfill(status=503, body="away"))
    tab.get_by_role("button", name="Save").click()
    tab.get_by_role("alert").wait_for()
    assert tab.get_by_label("Title").input_value() == "Kept"
    tab.unroute("**/manage")
    tab.get_by_role("button", name="Save").click()
    tab.get_by_text("Saved.").wait_for()


# All links


@pytest.mark.box("shortener.bulk")
def test_chosen_links_are_switched_tagged_ended_and_deleted_together(owner, own) -> None:
    codes = [owner.make(f"https://example.com/{n}")["short_code"] for n in range(3)]
    tab = own("links")
    for code in codes[:2]:
        tab.get_by_label(f"Choose {code}").check()
    tab.get_by_text("2 chosen").wait_for()
    tab.get_by_role("button", name="Switch off").click()
    tab.get_by_text("2 links are switched off.").wait_for()
    assert [owner.read(code)["disabled"] for code in codes] == [True, True, False]
    tab.get_by_label("Tag to add or remove").fill("Old ones")  # they are chosen still
    tab.get_by_role("button", name="Add tag").click()
    tab.get_by_text("2 links are tagged old ones.").wait_for()
    tab.get_by_label("New end").select_option("1")
    before = owner.read(codes[0])["expires_at"]
    tab.get_by_role("button", name="Move the end").click()
    tab.get_by_text("2 links are given a new end.").wait_for()
    assert owner.read(codes[0])["expires_at"] < before
    tab.get_by_role("button", name="Delete").click()
    tab.get_by_role("heading", name="Delete 2 links?").wait_for()
    tab.keyboard.press("Escape")
    assert len(owner.links()) == 3
    tab.get_by_role("button", name="Delete").click()
    tab.get_by_role("button", name="Delete them").click()
    tab.get_by_text("2 links are deleted.").wait_for()
    assert [link["short_code"] for link in owner.links()] == codes[2:]


@pytest.mark.box("shortener.bulk")
def test_what_can_t_be_changed_is_named_and_the_rest_is(owner, own) -> None:
    full = [f"t{n}" for n in range(10)]
    codes = [owner.make("https://example.com/full", tags=full), owner.make()]
    tab = own("links")
    tab.get_by_label("Choose all that are shown").check()
    tab.get_by_label("Tag to add or remove").fill("one-more")
    tab.keyboard.press("Enter")
    tab.get_by_text("1 link is tagged one-more.").wait_for()
    tab.get_by_text(f"{codes[0]['short_code']}: 11 tags; at most 10 are taken").wait_for()
    assert owner.read(codes[1]["short_code"])["tags"] == ["one-more"]


@pytest.mark.box("shortener.tags")
def test_the_list_is_narrowed_by_tag_and_goes_on_below(owner, own) -> None:
    for n in range(27):
        owner.make(f"https://example.com/{n}", tags=["even" if n % 2 == 0 else "odd"])
    tab = own("links")
    tab.get_by_role("button", name="Older links").click()
    tab.get_by_role("checkbox", name="Choose").nth(27).wait_for()  # and the one for all
    assert tab.get_by_role("button", name="Older links").count() == 0
    tab.get_by_label("Tag", exact=True).select_option("odd")
    tab.wait_for_url("**/links?tag=odd")
    tab.locator("[data-tag=odd]").wait_for()
    assert tab.get_by_role("row").count() == 1 + 13
    tab.reload()
    tab.locator("[data-tag=odd]").wait_for()
    assert tab.get_by_role("row").count() == 1 + 13


def test_clicks_arrive_in_the_list(owner, own, address) -> None:
    code = owner.make()["short_code"]
    tab = own("links")
    row = tab.get_by_role("row").filter(has_text=code)
    row.get_by_text("0 clicks").wait_for()
    httpx.get(f"{address}/{code}", headers={"user-agent": IPHONE})
    row.get_by_text("1 click", exact=True).wait_for()


@pytest.mark.box("shortener.files")
def test_a_csv_is_imported_and_what_is_refused_is_named_by_line(owner, own, tmp_path) -> None:
    file = tmp_path / "kutt.csv"
    code = f"k{owner.key[:8]}"
    file.write_text(KUTT.format(code) + "https://kutt.it/x,javascript:alert(1),Bad\n")
    tab = own("links")
    tab.get_by_text("Import from").click()
    tab.get_by_role("button", name="Import", exact=True).click()
    tab.get_by_text("Choose a file, or paste its text.").wait_for()
    tab.get_by_label("A file").set_input_files(file)
    tab.get_by_role("button", name="Import", exact=True).click()
    tab.get_by_role("heading", name="1 made, 0 you had already, 1 refused.").wait_for()
    assert (
        tab.get_by_role("region", name="Refused lines").get_by_role("cell").first.inner_text()
        == "3"
    )
    tab.get_by_role("link", name="Show the links").click()
    tab.get_by_label(f"Choose {code}").wait_for()
    assert owner.read(code)["original_url"] == f"https://kutt.example/{code}"


@pytest.mark.box("shortener.files")
def test_a_first_visitor_imports_and_gets_the_key_of_it_all(address, page) -> None:
    tab = page(f"{address}/links")
    tab.get_by_text("No link yet").wait_for()
    tab.get_by_text("Import from").click()
    tab.get_by_label("or the text itself").fill("https://example.com/a\nhttps://example.com/b")
    tab.get_by_role("button", name="Import", exact=True).click()
    tab.get_by_text("2 made").wait_for()
    tab.get_by_role("link", name="Show the links").click()
    tab.get_by_role("row").nth(2).wait_for()
    assert len(key_in(tab)) == 22


@pytest.mark.box("shortener.files")
def test_all_links_are_exported_as_a_file(owner, own) -> None:
    owner.make(title="Exported")
    tab = own("links")
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Export CSV").click()
    assert download.value.suggested_filename == "links.csv"
    lines = download.value.path().read_text().splitlines()
    assert lines[0].startswith("short_code,")
    assert "Exported" in lines[1]


def test_a_browser_takes_another_key(owner, page, address) -> None:
    code = owner.make()["short_code"]
    tab = page(f"{address}/")
    shorten(tab, f"{LONG}&mine")
    tab.get_by_text("Live", exact=True).wait_for()
    tab.goto(f"{address}/links")
    tab.get_by_text("The key to these links").click()
    tab.get_by_label("Use another key").fill(owner.key)
    tab.get_by_role("button", name="Use it").click()
    tab.get_by_label(f"Choose {code}").wait_for()
    assert key_in(tab) == owner.key


# Without a script, and below another address


def test_all_of_it_works_without_a_script(address, page) -> None:
    tab = page(f"{address}/", scripts=False)
    shorten(tab)
    short = short_link(tab)
    key = tab.locator("[data-made-key]").get_attribute("data-made-key")
    assert follow(tab, short) == LONG
    tab.get_by_role("button", name="See clicks and manage").click()
    assert tab.locator("[data-total]").inner_text() == "1"
    follow(tab, short)
    tab.get_by_role("button", name="Count again").click()
    assert tab.locator("[data-total]").inner_text() == "2"
    tab.get_by_label("Rules").fill("system ios -> https://apps.example/")
    tab.get_by_role("button", name="Save").click()
    tab.get_by_text("Saved.").wait_for()
    tab.goto(f"{address}/links")
    tab.get_by_label("Your key").fill(key)
    tab.get_by_role("button", name="List them").click()
    tab.get_by_role("button", name="Manage").click()
    assert tab.get_by_label("Rules").input_value() == "system ios -> https://apps.example/"


def test_the_pages_answer_below_the_main_address_too(town, page) -> None:
    tab = page(f"{town.http}/shortener/")
    shorten(tab)
    tab.get_by_text("Live", exact=True).wait_for()
    tab.get_by_role("link", name="Shorten another").click()
    tab.get_by_role("listitem").get_by_role("link", name="Manage").click()
    tab.get_by_text("Live", exact=True).wait_for()
    image = tab.get_by_alt_text("QR code of")
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth > 0)")
