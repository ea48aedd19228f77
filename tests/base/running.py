"""A town in a process of its own, for tests that speak to it over a real network."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

STOP_S = 20


@contextmanager
def running(*systems: str, data: Path) -> Iterator[str]:
    """`bastide up --only` these, on a port that it picks; its main address."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("BASTIDE_")}
    words = ["up", "--only", ",".join(systems), "--http", "127.0.0.1:0", "--data", str(data)]
    with (
        (data / "stderr").open("w+") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "bastide", *words],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        said = next((line for line in process.stdout if line.startswith("ready in")), None)
        assert said, f"the town did not start: {(data / 'stderr').read_text()}"
        try:
            yield msgspec.json.decode((data / "town.json").read_bytes())["http"]
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(STOP_S) == 0, (data / "stderr").read_text()
