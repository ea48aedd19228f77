"""Coordination's pages, as somebody sees them; and an election, watched in the demo."""

import httpx
import pytest

LONG = "k" * 300


@pytest.fixture(scope="module")
def coord(town):
    """Where it is; with keys, a lock that two want, and a leader."""
    address = town.address("coord")
    with httpx.Client(base_url=address) as client:
        for key in ("orders/1", "orders/2", LONG):
            client.put("/api/key", json={"key": key, "value": "x" * 500}).raise_for_status()
        for name, value in (("stock", ""), ("stock", ""), ("cook", "node one"), (LONG, "")):
            lease = client.post("/api/leases", json={"ttl_s": 3600}).json()["id"]
            body = {"name": name, "lease": lease, "value": value}
            client.put("/api/queue", json=body).raise_for_status()
    return address


@pytest.mark.parametrize(
    "path",
    ["/", "/keys", "/key?key=orders/1", "/locks", "/queue?name=stock", "/leases", "/demo"],
)
def test_every_page_is_without_barriers_and_fits_its_width(
    coord, page, faults_of, look, path
) -> None:
    width, scheme = look
    tab = page(coord + path, width=width, scheme=scheme)
    assert tab.locator("h1").count() == 1
    name = path.strip("/").partition("?")[0] or "nodes"
    assert faults_of(tab, f"coord-{name}-{width}-{scheme}") == []


def test_a_node_of_the_demo_is_stopped_and_another_one_leads(coord, page, faults_of) -> None:
    tab = page(f"{coord}/demo")
    tab.get_by_role("button", name="Begin one").click()
    leads = tab.locator("#demo-live [role=status] b")
    leads.wait_for()
    first = leads.text_content()
    for width in (1280, 360):
        tab.set_viewport_size({"width": width, "height": 800})
        assert faults_of(tab, f"coord-demo-runs-{width}") == []
    tab.get_by_label("Key").fill("hello")
    tab.get_by_role("button", name="Put").click()
    tab.locator("#demo-live dt", has_text="hello").wait_for()
    tab.get_by_role("button", name=f"Stop {first}").focus()
    tab.keyboard.press("Enter")
    tab.locator("#demo-live [role=status] b").filter(has_not_text=first).wait_for()
    assert faults_of(tab, "coord-demo-stopped") == []
    tab.get_by_role("button", name="End the demo").click()
    tab.get_by_text("No demo group runs").wait_for()
