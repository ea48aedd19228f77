"""A town of coordination and of a system that uses it."""

import os
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from bastide.base.settings import parse_url
from bastide.town import open_town
from tests.engines.coord.node_kit import quiet_port
from tests.engines.coord.wire_kit import keys_at


def etcd_url():
    """The real one's. Needed by every test that is marked `engine("etcd")`."""
    url = os.environ.get("BASTIDE_TEST_ETCD_URL")
    if not url:
        reason = "BASTIDE_TEST_ETCD_URL is not set: scripts/engines start"
        if os.environ.get("BASTIDE_TEST_ENGINES_REQUIRED") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return url


class Places:
    """Opens the town at one URL; all but `memory://` find again what they had."""

    def __init__(self, kind, data):
        self.kind = kind
        self.data = data
        self.url = etcd_url() if kind == "etcd" else f"{kind}://"
        if kind == "cluster":
            self.url = f"cluster://127.0.0.1:{quiet_port()}?me=1"

    @asynccontextmanager
    async def open(self, **settings):
        found = {f"BASTIDE_COORD_{name.upper()}": str(value) for name, value in settings.items()}
        environ = {"BASTIDE_COORD_URL": self.url, **found}
        async with open_town(["owner"], environ, data=self.data) as town:
            coord = town.served("owner").engine
            if self.kind == "etcd":
                async with keys_at(parse_url(self.url).location) as keys:
                    yield SimpleNamespace(town=town, coord=coord, keys=keys)
            else:
                keys = town.behind_wire("coord").node
                yield SimpleNamespace(town=town, coord=coord, keys=keys)
