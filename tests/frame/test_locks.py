"""The locks pin everything, for every platform, and name no host."""

import re
import tomllib
from pathlib import Path

import pytest

LOCKS = ("requirements.lock", "requirements-dev.lock")
PIN = re.compile(r"^([a-z0-9-]+)==([0-9][^ ]*)(?: ; ([^\\]+))? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")


def pins(path: Path) -> dict[str, str]:
    return {m[1]: m[2] for line in path.read_text().splitlines() if (m := PIN.match(line))}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_pins_and_hashes_and_names_no_index(root: Path, lock: str) -> None:
    lines = (root / lock).read_text().splitlines()
    assert [line for line in lines if not PIN.match(line) and not HASH.match(line)] == []
    text = "\n".join(lines)
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text


@pytest.mark.parametrize("lock", LOCKS)
def test_each_pin_has_hashes_and_a_compiled_one_those_of_many_platforms(
    root: Path, lock: str
) -> None:
    text = (root / lock).read_text()
    for block in re.split(r"\n(?=[a-z])", text):
        assert block.count("--hash=") >= 1, block
    compiled = next(b for b in re.split(r"\n(?=[a-z])", text) if b.startswith("httptools=="))
    assert compiled.count("--hash=") > 10


def test_what_dev_installs_holds_all_of_runtime_in_the_same_versions(root: Path) -> None:
    runtime, dev = (pins(root / lock) for lock in LOCKS)
    assert runtime.items() <= dev.items()


def test_every_dependency_is_pinned_and_the_town_needs_no_extra(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())
    runtime, dev = (pins(root / lock) for lock in LOCKS)
    names = {_name(text) for text in project["project"]["dependencies"]}
    assert names <= runtime.keys()
    extras = project["project"]["optional-dependencies"].values()
    assert {_name(text) for extra in extras for text in extra} <= dev.keys()
    assert not {_name(text) for extra in extras for text in extra} & runtime.keys()


def _name(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9-]+", re.sub(r"[_.]+(?=[A-Za-z])", "-", requirement))[0].lower()
