"""A town in a process of its own, as a person starts it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx
import msgspec
import pytest

LAUNCH = Path(__file__).with_name("launch.py")
SOURCES = Path(__file__).parents[2] / "src"
READY = re.compile(r"^ready in ([0-9.]+) s, ([0-9]+) MB$")
STOP_S = 20


class TownFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pid: int
    http: str
    systems: Mapping[str, Mapping[str, str]]


def environ_of(**variables: str | None) -> dict[str, str]:
    """This process's environment with `variables` for the only settings of a town."""
    found = {k: v for k, v in os.environ.items() if not k.startswith("BASTIDE_")}
    found["PYTHONPATH"] = f"{SOURCES}{os.pathsep}{LAUNCH.parent}"
    return {**found, **{k: v for k, v in variables.items() if v is not None}}


class RunningTown:
    """`bastide up` after its last line. `said` is all that it printed."""

    def __init__(self, data: Path, *words: str, **variables: str | None) -> None:
        self.data = data
        command = [sys.executable, LAUNCH, "up", "--data", data, *words]
        self._errors = (data.parent / f"{data.name}.errors").open("w+")
        self.process = subprocess.Popen(
            list(map(str, command)),
            env=environ_of(**variables),
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.said = ""

    def until_ready(self) -> "RunningTown":
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if READY.match(line):
                return self
        raise AssertionError(f"the town did not start: {self.errors()}")

    def errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read()

    @property
    def file(self) -> TownFile:
        return msgspec.json.decode((self.data / "town.json").read_bytes(), type=TownFile)

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(self.file.http + path, headers=headers, timeout=STOP_S)

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """The exit code after the signal."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        return self.process.wait(STOP_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process.wait(STOP_S)
        self._errors.close()


Start = Callable[..., RunningTown]
Bastide = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`start(*words, data=..., **variables)` begins `bastide up`; `until_ready` waits for it."""
    started: list[RunningTown] = []

    def start(*words: str, data: Path | None = None, **variables: str | None) -> RunningTown:
        variables.setdefault("BASTIDE_HTTP", "127.0.0.1:0")
        started.append(RunningTown(data or tmp_path / "town", *words, **variables))
        return started[-1]

    yield start
    for town in started:
        town.close()


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTown]:
    """One that all tests of a module look at."""
    data = tmp_path_factory.mktemp("shared") / "town"
    running = RunningTown(data, BASTIDE_HTTP="127.0.0.1:0")
    try:
        yield running.until_ready()
        assert running.stop() == 0, running.errors()
    finally:
        running.close()


@pytest.fixture
def bastide(tmp_path: Path) -> Bastide:
    """`bastide("list")` runs it to its end, with DATA in `tmp_path` unless told otherwise."""

    def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        variables.setdefault("BASTIDE_DATA", str(tmp_path / "town"))
        command = [sys.executable, str(LAUNCH), *words]
        return subprocess.run(
            command, env=environ_of(**variables), capture_output=True, text=True, timeout=60
        )

    return run


@pytest.fixture
def environ() -> Mapping[str, str]:
    return environ_of()
