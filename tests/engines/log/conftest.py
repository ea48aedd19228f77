"""The log, on whichever backend a test is run."""

import pytest

from bastide.engines.log.contract import Log
from bastide.testing.kafka import kafka  # noqa: F401 (the fixture, as a project imports it)
from tests.base.owner import list_owner
from tests.engines.log.town_kit import Places


@pytest.fixture
def listed(monkeypatch):
    list_owner(monkeypatch, "log", Log)


@pytest.fixture(params=["memory", "file"])
def places(request, tmp_path, listed):
    return Places(request.param, tmp_path / "data")


@pytest.fixture
async def log(places):
    async with places.open() as opened:
        yield opened.log


@pytest.fixture
def disk_places(tmp_path, listed):
    """What is opened again finds what it had."""
    return Places("file", tmp_path / "data")
