"""Chromium looks at a running town.

`town` is `bastide up` as a process of its own; `page(address, width=..., scheme=...)` opens a tab
on it. A tab that logs an error, throws or misses an answer fails its test, unless the test has
named the statuses that it provokes: `page(address, expected=(404,))`.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

import msgspec
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    sync_playwright,
)

Scheme = Literal["light", "dark"]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
HEIGHT_PX = 800
TIMEOUT_MS = 10_000
STOP_S = 20
_STATUS = re.compile(r"Failed to load resource.* status of (\d+)")


class RunningTown(msgspec.Struct, frozen=True):
    """What town.json says."""

    pid: int
    http: str
    systems: Mapping[str, Mapping[str, str]]

    def address(self, system: str) -> str:
        return self.systems[system]["http"]


class OpenPage(Protocol):
    def __call__(
        self,
        address: str,
        *,
        width: int = 1280,
        scheme: Scheme = "light",
        scripts: bool = True,
        expected: Collection[int] = (),
    ) -> Page:
        """A tab of its own on `address`, for a reader who wants no motion. `scripts`: JavaScript
        runs; `expected`: the statuses from 400 up that are no failure of this test.
        """
        ...


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker("browser")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        reason = f"no Chromium: none of {', '.join(BROWSERS)} is on PATH"
        if os.environ.get("BASTIDE_TEST_ENGINES_REQUIRED") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTown]:
    """Every system on its default backend, on ports of its own choice."""
    with running_town(tmp_path_factory.mktemp("town")) as town:
        yield town


@contextmanager
def running_town(data: Path, *words: str) -> Iterator[RunningTown]:
    """`bastide up` with more words."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("BASTIDE_")}
    command = [sys.executable, "-m", "bastide", "up", "--http", "127.0.0.1:0", *words]
    command += ["--data", str(data)]
    with (
        (data / "stderr").open("w+") as stderr,
        subprocess.Popen(
            command, env=environ, stdout=subprocess.PIPE, stderr=stderr, text=True
        ) as process,
    ):
        assert process.stdout is not None
        said = next((line for line in process.stdout if line.startswith("ready in")), None)
        assert said, f"the town did not start: {(data / 'stderr').read_text()}"
        yield msgspec.json.decode((data / "town.json").read_bytes(), type=RunningTown)
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_S) == 0, (data / "stderr").read_text()


@pytest.fixture
def page(browser: Browser) -> Iterator[OpenPage]:
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_page(
        address: str,
        *,
        width: int = 1280,
        scheme: Scheme = "light",
        scripts: bool = True,
        expected: Collection[int] = (),
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": HEIGHT_PX},
            color_scheme=scheme,
            java_script_enabled=scripts,
            reduced_motion="reduce",
        )
        contexts.append(context)
        context.set_default_timeout(TIMEOUT_MS)
        tab = context.new_page()
        _listen(tab, complaints, expected)
        tab.goto(address)
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints, complaints


def _listen(tab: Page, complaints: list[str], expected: Collection[int]) -> None:
    """Errors in the console, exceptions, and answers from 400 up that nobody expected."""

    def hear(message: ConsoleMessage) -> None:
        status = _STATUS.search(message.text)
        if message.type == "error" and not (status and int(status.group(1)) in expected):
            complaints.append(f"{message.location.get('url', '')}: {message.text}")

    tab.on("console", hear)
    tab.on("pageerror", lambda error: complaints.append(str(error)))


@pytest.fixture(params=[(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")], ids=str)
def look(request: pytest.FixtureRequest) -> tuple[int, Scheme]:
    """Every width and scheme at which a page is looked at."""
    found: tuple[int, Scheme] = request.param
    return found


@pytest.fixture(scope="session")
def faults_of() -> Callable[[Page, str], list[str]]:
    """`faults_of(tab, "home")`: what keeps somebody out (axe), and what makes the page scroll
    sideways. The picture is kept as home.png in BASTIDE_TEST_PHOTOGRAPHS, if that is set.
    """
    axe = Axe()

    def look(tab: Page, name: str) -> list[str]:
        if directory := os.environ.get("BASTIDE_TEST_PHOTOGRAPHS"):
            tab.screenshot(path=Path(directory) / f"{name}.png", full_page=True)
        found = axe.run(tab).response["violations"]
        barriers = [f"{v['id']}: {v['help']}: {n['html']}" for v in found for n in v["nodes"]]
        return [*barriers, *_too_wide(tab)]

    return look


def _too_wide(tab: Page) -> list[str]:
    found: list[str] = tab.evaluate(
        """() => {
            const width = document.documentElement.clientWidth
            if (document.documentElement.scrollWidth <= width) return []
            return [...document.body.querySelectorAll("*")]
                .filter((e) => e.getBoundingClientRect().right > width + 1)
                .map((e) => `wider than ${width} px: ${e.outerHTML.slice(0, 120)}`)
        }"""
    )
    return found
