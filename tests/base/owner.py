"""A town of one engine, a system that owns something in it, and the console."""

import sys
from contextlib import asynccontextmanager
from types import ModuleType

from bastide.base.manifest import Manifest


class Owner:
    def __init__(self, engine):
        self.engine = engine


def list_owner(monkeypatch, engine, contract):
    """Puts a system named owner above `engine`, which provides `contract`, into the list."""

    @asynccontextmanager
    async def open_owner(use):
        yield Owner(use(contract))

    module = ModuleType("town_owner.manifest")
    module.MANIFEST = Manifest(
        name="owner",
        floor="apps",
        summary="Owns something.",
        provides=Owner,
        open=open_owner,
        needs=(contract,),
    )
    monkeypatch.setitem(sys.modules, "town_owner", ModuleType("town_owner"))
    monkeypatch.setitem(sys.modules, "town_owner.manifest", module)
    systems = (f"bastide.engines.{engine}", "town_owner", "bastide.apps.console")
    monkeypatch.setattr("bastide.town.SYSTEMS", systems)
