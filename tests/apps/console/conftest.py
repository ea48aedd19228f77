"""Chromium, for what must be seen: the fixtures are those of tests/browser."""

from tests.browser.conftest import browser, faults_of, look, page  # noqa: F401 (fixtures)
