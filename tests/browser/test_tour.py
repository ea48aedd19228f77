"""A walk through the town, as a person sees it: a link is made and followed, its way lights up on
the map, its click arrives, it is switched off, and who follows it is told that it is gone.
"""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

LIT = "#edge-{0}:not(.weight-0)"


class Elsewhere(BaseHTTPRequestHandler):
    """A site that links lead to."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"You have arrived.")

    def log_message(self, *_: object) -> None:
        """Nothing is wrong with being asked."""


@pytest.fixture
def elsewhere():
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/the/long/way/round"
        server.shutdown()


@pytest.mark.box("console.map-lights")
@pytest.mark.box("shortener.live")
@pytest.mark.box("shortener.gone")
def test_a_tour(town, page, elsewhere) -> None:
    console, maker = page(town.http), page(town.address("shortener") + "/", expected=(410,))

    maker.get_by_label("Long address").fill(elsewhere)
    maker.get_by_role("button", name="Shorten").first.click()
    short = maker.get_by_role("link", name="Follow it").get_attribute("href")
    maker.get_by_role("button", name="See clicks and manage").click()
    maker.get_by_text("No click yet").wait_for()
    maker.get_by_text("Live", exact=True).wait_for()

    follower = maker.context.new_page()
    follower.goto(short)
    follower.get_by_text("You have arrived.").wait_for()
    assert follower.url == elsewhere

    console.locator("#figure-outside-shortener").wait_for()
    for edge in ("shortener-cache", "shortener-sql", "shortener-pubsub"):
        console.locator(LIT.format(edge)).wait_for(state="attached")
    maker.locator("[data-total]", has_text="1").wait_for()

    maker.get_by_role("button", name="Switch off").click()
    maker.get_by_text("Switched off: nobody").wait_for()
    gone = follower.goto(short)
    assert gone is not None
    assert gone.status == 410
    follower.get_by_text("switched off by its owner").wait_for()
