"""Paste a link, get a short one, follow it, see the count: as a person does."""

import pytest

LONG = "https://example.com/a/rather/long/address/that/nobody/wants/to/type?with=a&query=too"


@pytest.fixture
def address(town):
    return town.address("shortener")


def shorten(tab, url=LONG, code=""):
    tab.get_by_label("Long address").fill(url)
    tab.get_by_label("Code").fill(code)
    tab.get_by_role("button", name="Shorten").click()


def short_link(tab):
    """The address on the page that shows a new link."""
    return tab.get_by_role("link", name="Follow it").get_attribute("href")


def follow(tab, short):
    """As its browser would, but no further than our answer."""
    reply = tab.request.get(short, max_redirects=0)
    assert (reply.status, reply.headers["location"]) == (302, LONG)


@pytest.mark.box("shortener.page")
def test_a_person_shortens_follows_and_sees_the_count(address, page, faults_of, look) -> None:
    width, scheme = look
    tab = page(f"{address}/", width=width, scheme=scheme)
    tab.get_by_text("No link yet").wait_for()
    assert faults_of(tab, f"shortener-empty-{width}-{scheme}") == []
    shorten(tab)
    follow(tab, short := short_link(tab))
    tab.locator("[data-total]", has_text="1").wait_for()  # without loading the page again
    assert faults_of(tab, f"shortener-made-{width}-{scheme}") == []
    tab.get_by_role("link", name="Shorten another").click()
    row = tab.get_by_role("listitem").filter(has_text=short.rpartition("/")[2])
    row.get_by_text("1 click", exact=True).wait_for()
    follow(tab, short)
    row.get_by_text("2 clicks").wait_for()
    assert faults_of(tab, f"shortener-home-{width}-{scheme}") == []
    row.get_by_role("button", name="Manage").click()
    tab.locator("[data-total]", has_text="2").wait_for()
    assert faults_of(tab, f"shortener-link-{width}-{scheme}") == []


@pytest.mark.box("shortener.page")
def test_the_other_pages_are_without_barriers_too(address, page, faults_of, look) -> None:
    width, scheme = look
    tab = page(f"{address}/", width=width, scheme=scheme, expected=(400, 403, 410))
    shorten(tab, "javascript:alert(1)", "mine")
    assert faults_of(tab, f"shortener-refused-{width}-{scheme}") == []
    shorten(tab)
    short = short_link(tab)
    tab.get_by_role("button", name="See clicks and manage").click()
    tab.get_by_role("button", name="Switch off").click()
    assert faults_of(tab, f"shortener-off-{width}-{scheme}") == []
    tab.goto(short)
    assert faults_of(tab, f"shortener-gone-{width}-{scheme}") == []
    tab.goto(f"{address}/manage")
    tab.get_by_label("Short link").fill(short)
    tab.get_by_label("Its key").fill("0" * 22)
    tab.get_by_role("button", name="Show it").click()
    assert faults_of(tab, f"shortener-manage-{width}-{scheme}") == []


def test_the_copy_button_copies_the_short_link(address, page) -> None:
    tab = page(f"{address}/")
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    shorten(tab)
    tab.get_by_role("button", name="Copy").first.click()
    tab.get_by_role("button", name="Copied").wait_for()
    assert tab.evaluate("navigator.clipboard.readText()") == short_link(tab)


def test_links_made_in_one_browser_belong_to_one_key(address, page) -> None:
    tab = page(f"{address}/")
    for n in range(3):
        shorten(tab, f"{LONG}&n={n}")
        tab.get_by_role("link", name="Shorten another").click()
    tab.get_by_role("button", name="Manage").nth(2).wait_for()
    assert tab.get_by_role("button", name="Manage").count() == 3


def test_what_is_wrong_is_said_at_its_field(address, page) -> None:
    tab = page(f"{address}/", expected=(400, 409))
    shorten(tab, "javascript:alert(1)", "mine")
    field = tab.get_by_label("Long address")
    assert field.get_attribute("aria-invalid") == "true"
    assert field.input_value() == "javascript:alert(1)"
    assert tab.get_by_label("Code").input_value() == "mine"
    shorten(tab, LONG, "api")
    tab.get_by_text("The code 'api' is reserved").wait_for()


def test_a_bare_name_is_taken_as_https(address, page) -> None:
    tab = page(f"{address}/")
    shorten(tab, "example.com/page")
    tab.get_by_text("https://example.com/page").wait_for()


def test_the_owner_switches_a_link_off_and_on_and_deletes_it(address, page) -> None:
    tab = page(f"{address}/", expected=(410,))
    shorten(tab)
    short = short_link(tab)
    tab.get_by_role("button", name="See clicks and manage").click()
    tab.get_by_role("button", name="Switch off").click()
    tab.get_by_text("Switched off").wait_for()
    assert tab.request.get(short, max_redirects=0).status == 410
    tab.get_by_role("button", name="Switch on").click()
    tab.get_by_role("button", name="Switch off").wait_for()
    follow(tab, short)
    tab.get_by_text("Delete it").click()
    tab.get_by_role("button", name="Delete").click()
    tab.get_by_role("heading", name="The link is deleted").wait_for()
    tab.goto(short)
    tab.get_by_text("was deleted").wait_for()


def test_another_browser_manages_with_the_key(address, page) -> None:
    tab = page(f"{address}/")
    shorten(tab)
    key = tab.locator("[data-made-key]").get_attribute("data-made-key")
    other = page(f"{address}/manage", expected=(403,))
    other.get_by_label("Short link").fill(short_link(tab))
    other.get_by_label("Its key").fill("0" * 22)
    other.get_by_role("button", name="Show it").click()
    other.get_by_text("This key does not manage the link").wait_for()
    other.get_by_label("Its key").fill(key)
    other.get_by_role("button", name="Show it").click()
    other.locator("[data-total]", has_text="0").wait_for()


def test_all_of_it_works_without_a_script(address, page) -> None:
    tab = page(f"{address}/", scripts=False)
    shorten(tab)
    follow(tab, short := short_link(tab))
    tab.get_by_role("button", name="See clicks and manage").click()
    assert tab.locator("[data-total]").inner_text() == "1"
    follow(tab, short)
    tab.get_by_role("button", name="Count again").click()
    assert tab.locator("[data-total]").inner_text() == "2"


def test_the_form_is_filled_and_sent_by_keyboard_alone(address, page) -> None:
    tab = page(f"{address}/")
    tab.get_by_label("Long address").focus()
    tab.keyboard.type(LONG)
    tab.keyboard.press("Enter")
    tab.get_by_role("heading", name="Your short link").wait_for()


def test_the_pages_answer_below_the_main_address_too(town, page) -> None:
    tab = page(f"{town.http}/shortener/")
    shorten(tab)
    tab.get_by_role("link", name="Shorten another").click()
    tab.get_by_role("button", name="Manage").click()
    tab.locator("[data-total]").wait_for()
