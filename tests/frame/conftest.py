"""A copy of the tree in which a test may break things, and a way to run programs there."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COPIED = ("src", "tools", "scripts", "tests", "README.md", "LICENSE", "pyproject.toml")
LEFT = shutil.ignore_patterns("__pycache__", ".*_cache")

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def root() -> Path:
    return ROOT


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project's files; the locks and mypy's cache too, so that nothing is worked out twice."""
    made = tmp_path / "copy"
    made.mkdir()
    for path in (*(ROOT / name for name in COPIED), *ROOT.glob("*.lock"), ROOT / ".mypy_cache"):
        if path.is_dir():
            shutil.copytree(path, made / path.name, ignore=LEFT)
        elif path.exists():
            shutil.copy2(path, made / path.name)
    return made


@pytest.fixture
def run() -> Run:
    """`run(directory, "mypy", ...)` runs a program of this environment there, on its sources."""

    def run(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
        environ = {k: v for k, v in os.environ.items() if not k.startswith("BASTIDE_")}
        environ["PYTHONPATH"] = str(directory / "src")
        command = [str(Path(sys.executable).parent / words[0]), *words[1:]]
        return subprocess.run(command, cwd=directory, env=environ, capture_output=True, text=True)

    return run
