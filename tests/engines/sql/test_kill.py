"""kill -9 under 200 writers: what was acknowledged is there, whole, and so is what was not."""

import os
import random
import secrets
import subprocess
import sys
import time
from pathlib import Path

import apsw
import pytest

ROUNDS = int(os.environ.get("BASTIDE_TEST_ROUNDS", "3"))
PROGRAM = Path(__file__).with_name("dies.py")
LIFE_S = (0.0, 0.2)  # after the first acknowledgement


def killed_after(directory, first, life_s):
    """The ids that were acknowledged before the process was gone."""
    command = [sys.executable, str(PROGRAM), str(directory), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        said = [process.stdout.read1()]
        end = time.monotonic() + life_s
        while time.monotonic() < end:
            said.append(process.stdout.read1())
        process.kill()
        said.append(process.stdout.read())
    whole, _, _ = b"".join(said).rpartition(b"\n")  # the last line may be half a number
    return [int(line) for line in whole.split()]


@pytest.mark.shows("sql.restart")
@pytest.mark.box("sql.kill")
@pytest.mark.timeout(60 + 5 * ROUNDS)
def test_no_acknowledged_row_is_lost_by_kill_9(tmp_path):
    seed = secrets.randbits(32)
    chance = random.Random(seed)
    print(f"seed {seed}, {ROUNDS} rounds")
    acknowledged: set[int] = set()
    for number in range(ROUNDS):
        life_s = chance.uniform(*LIFE_S)
        acknowledged.update(killed_after(tmp_path, number * 10_000_000, life_s))
        connection = apsw.Connection(str(tmp_path / "dies.db"))
        heads = {row[0] for row in connection.execute("SELECT id FROM heads")}
        tails = {row[0] for row in connection.execute("SELECT head FROM tails")}
        assert connection.execute("PRAGMA integrity_check").get == "ok"
        connection.close()
        lost = acknowledged - heads
        assert not lost, f"seed {seed}, round {number}: {len(lost)} lost, as {min(lost)}"
        assert heads == tails, f"seed {seed}, round {number}: half a transaction"
    print(f"{ROUNDS} kills, {len(acknowledged)} acknowledged, 0 lost; {len(heads)} rows")
    assert acknowledged
