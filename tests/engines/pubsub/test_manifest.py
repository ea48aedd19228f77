"""The engine as the town opens it."""

import subprocess
import sys

import pytest

from bastide.base.errors import Invalid
from bastide.base.settings import parse_url
from bastide.engines.pubsub.backends.memory import open_memory


def test_without_the_extra_everything_but_redis_is_imported():
    program = """
import sys
sys.modules["hiredis"] = None
from bastide.base.manifest import load
from bastide.engines.pubsub.manifest import MANIFEST
load(MANIFEST.backends["memory"].opener)
try:
    load(MANIFEST.backends["redis"].opener)
except ImportError as error:
    print(MANIFEST.backends["redis"].extra)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "redis\n", done.stderr


async def test_an_option_that_memory_has_not_is_refused():
    with pytest.raises(Invalid, match="timeout_s"):
        await open_memory(parse_url("memory://?timeout_s=1")).__aenter__()
