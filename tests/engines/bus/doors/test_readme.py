"""The systems that the README writes down are a town in which each loaf is counted once."""

import importlib
import re
import sys
from importlib.resources import files

import pytest

from bastide.testing.town import raised
from tests.engines.bus.doors.conftest import ENGINES, until

BLOCK = re.compile(r"^```python\n# (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def written(tmp_path, monkeypatch):
    """The README's files, as packages that can be imported."""
    text = (files("bastide.engines.bus") / "README.md").read_text("utf-8")
    found = dict(BLOCK.findall(text))
    for name, source in found.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("bastide.town.SYSTEMS", (*ENGINES, "bakery", "shelf"))
    importlib.invalidate_caches()
    yield found
    for name in [n for n in sys.modules if n.partition(".")[0] in ("bakery", "shelf")]:
        del sys.modules[name]


@pytest.mark.box("bus.once")
async def test_the_example_is_a_town_in_which_each_loaf_is_counted_once(written):
    assert set(written) == {"bakery/contract.py", "bakery/manifest.py", "shelf/manifest.py"}
    async with raised("bakery", "shelf") as town:
        bakery, shelf = town.served("bakery"), town.served("shelf")
        for _ in range(10):
            await bakery.bake("rye", 4)

        async def is_counted():
            return await shelf.left("rye") == 40

        await until(is_counted)
