"""What the README says of the protocol is what is served."""

import re
from importlib.resources import files

import pytest

from bastide.engines.log.wire.codec.messages.table import APIS
from bastide.engines.log.wire.table import HANDLERS

ROW = re.compile(r"^\| (\d+) \| ([A-Za-z]+) \| (\d+) to (\d+) \|$", re.MULTILINE)


@pytest.mark.box("log.apis")
def test_the_table_of_apis_is_that_of_the_code() -> None:
    text = (files("bastide.engines.log") / "README.md").read_text("utf-8")
    told = [(int(key), name, int(low), int(high)) for key, name, low, high in ROW.findall(text)]
    served = [
        (api.key, api.name.title().replace("_", ""), api.version_min, api.version_max)
        for _, api in sorted(APIS.items())
    ]
    assert told == served
    assert {api.name for api in APIS.values()} == set(HANDLERS)
