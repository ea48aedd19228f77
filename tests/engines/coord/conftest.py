"""Coordination, on whichever backend a test is run."""

import pytest

from bastide.engines.coord.contract import Coord
from tests.base.owner import list_owner
from tests.engines.coord.town_kit import Places

REAL = pytest.param("etcd", marks=pytest.mark.engine("etcd"))


@pytest.fixture
def listed(monkeypatch):
    list_owner(monkeypatch, "coord", Coord)


@pytest.fixture(params=["memory", "file", "cluster", REAL])
def places(request, tmp_path, listed):
    return Places(request.param, tmp_path / "data")


@pytest.fixture
async def opened(places):
    async with places.open() as opened:
        yield opened


@pytest.fixture
def coord(opened):
    return opened.coord
