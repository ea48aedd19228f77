"""The log, on whichever backend a test is run."""

import pytest

from bastide.engines.log.contract import Log
from bastide.testing.kafka import kafka  # noqa: F401 (the fixture, as a project imports it)
from tests.base.owner import list_owner
from tests.engines.log.kafka_kit import cleared, shared_url
from tests.engines.log.town_kit import Places

REAL = pytest.param("kafka", marks=pytest.mark.engine("kafka"))


@pytest.fixture
def listed(monkeypatch):
    list_owner(monkeypatch, "log", Log)


@pytest.fixture(params=["memory", "file", REAL])
def places(request, tmp_path, listed):
    if request.param == "kafka":
        return Places(cleared(shared_url()), tmp_path / "data")
    return Places(f"{request.param}://", tmp_path / "data")


@pytest.fixture(params=["memory", "file"])
def own_places(request, tmp_path, listed):
    """A broker of ours."""
    return Places(f"{request.param}://", tmp_path / "data")


@pytest.fixture
async def log(places):
    async with places.open() as opened:
        yield opened.log


@pytest.fixture
def disk_places(tmp_path, listed):
    """What is opened again finds what it had."""
    return Places("file://", tmp_path / "data")
