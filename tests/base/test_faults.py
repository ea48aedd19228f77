import os
import signal
import subprocess
import sys

import pytest

from bastide.base import faults
from bastide.base.rt.runtime import current


def test_a_point_that_nobody_armed_does_nothing() -> None:
    faults.point("sql.before_commit")


def test_an_armed_point_fails_where_it_is_reached_and_nowhere_else() -> None:
    full = OSError(28, "full")
    with faults.armed("seglog.after_write", faults.failing(full)):
        faults.point("seglog.before_write")
        with pytest.raises(OSError, match="full") as failed:
            faults.point("seglog.after_write")
    assert failed.value is full


def test_a_point_is_disarmed_after_its_block_even_when_that_fails() -> None:
    with pytest.raises(KeyError), faults.armed("a", faults.failing(KeyError("a"))):
        faults.point("a")
    faults.point("a")
    assert current().faults == {}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_crash_leaves_no_time_to_clean_up() -> None:
    program = """
from bastide.base import faults
try:
    with faults.armed("a", faults.crashing()):
        faults.point("a")
finally:
    print("cleaned up", flush=True)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout == b""
