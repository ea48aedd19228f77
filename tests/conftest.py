import os
from collections.abc import Iterator

import pytest

from bastide.base.rt import runtime
from tools.record import Recorder


def pytest_configure(config: pytest.Config) -> None:
    """What the tests show is kept for `bastide quality`."""
    config.pluginmanager.register(Recorder(config.rootpath), "recorder")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def own_runtime() -> Iterator[None]:
    """A test that runs on a clock or a disk of its own leaves none to the next one."""
    before = runtime.current()
    yield
    runtime.run_on(before)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where everything is required, a skip is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    required = os.environ.get("BASTIDE_TEST_ENGINES_REQUIRED") == "1"
    if required and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
