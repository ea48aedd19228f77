"""Decisions are short, whole, and cover every dependency."""

import re
import tomllib
from pathlib import Path

import pytest

DECISIONS = sorted((Path(__file__).parents[2] / "docs/decisions").glob("*.md"))
PARTS = ("Context", "Decision", "Consequences", "Alternatives", "Check")


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_its_parts_on_a_page(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 40
    assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE) == list(PARTS)


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = [int(path.name[:4]) for path in DECISIONS]
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_dependency_has_its_reason(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    listed = [*project["dependencies"], *(one for extra in extras for one in extra)]
    said = next(p for p in DECISIONS if p.stem.endswith("dependencies")).read_text().lower()
    names = {re.match(r"[\w-]+", one)[0].lower() for one in listed}
    assert {name for name in names if name not in said} == set()
