"""The import rules catch what they are there for: one violation of each, planted in a copy."""

import re
from pathlib import Path

from tools.new_system import make

# What is planted: the file, a line of it, and what the broken rule says.
PLANTED = {
    "Floors: each stands only on those below": (
        "base/errors.py",
        "import bastide.cli",
        "bastide.base.errors -> bastide.cli",
    ),
    "Rooms: every system has the same shape and reads downwards": (
        "engines/alpha/service.py",
        "import bastide.engines.alpha.api",
        "bastide.engines.alpha.service -> bastide.engines.alpha.api",
    ),
    "Doors: systems know each other only by contract": (
        "apps/beta/api.py",
        "import bastide.engines.alpha.service",
        "bastide.apps.beta.api -> bastide.engines.alpha.service",
    ),
    "No cycles, at any depth": (
        "engines/alpha/wire/one.py",
        "import bastide.engines.alpha.wire.two",
        "engines.alpha.wire",
    ),
    "Core is pure: no clock, no chance, no I/O": (
        "engines/alpha/core.py",
        "import asyncio",
        "bastide.engines.alpha.core -> asyncio",
    ),
    "Effects come through base.rt": (
        "apps/beta/service.py",
        "import random",
        "bastide.apps.beta.service -> random",
    ),
    "The parser of HTTP and the loop are known where they are used": (
        "base/gate.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import httptools",
        "bastide.base.gate -> httptools",
    ),
    "Client libraries live in backends": (
        "engines/alpha/model.py",
        "import apsw",
        "bastide.engines.alpha.model -> apsw",
    ),
}


def test_every_rule_catches_a_violation_of_it(copy: Path, run) -> None:
    _plant(copy)
    ended = run(copy, "lint-imports", "--no-logo")
    assert ended.returncode == 1, ended.stdout
    broken = _by_rule(ended.stdout)
    rules = set(re.findall(r'^name = "(.*)"$', (copy / "pyproject.toml").read_text(), re.M))
    assert {"bastide", *PLANTED} == rules, "each rule needs its violation here"
    for rule, (_, _, said) in PLANTED.items():
        assert said in _flat(broken.get(rule, "")), f"{rule} did not see {said}:\n{ended.stdout}"


def test_a_room_that_no_rule_names_is_refused(copy: Path, run) -> None:
    (copy / "src/bastide/apps/console/helpers.py").write_text("")
    ended = run(copy, "lint-imports", "--no-logo")
    assert "bastide.apps.console.helpers" in ended.stdout
    assert ended.returncode == 1


def _plant(copy: Path) -> None:
    make(copy, "engines", "alpha", "A system to be broken.")
    make(copy, "apps", "beta", "Another one.")
    package = copy / "src/bastide"
    wire = package / "engines/alpha/wire"
    wire.mkdir()
    (wire / "__init__.py").write_text("")
    (wire / "two.py").write_text("import bastide.engines.alpha.wire.one\n")
    for path, line, _ in PLANTED.values():
        with (package / path).open("a") as file:
            file.write(f"\n{line}\n")


def _by_rule(output: str) -> dict[str, str]:
    """What the linter says of each broken rule: its name, underlined, then the imports."""
    pieces = re.split(r"^(.+)\n-+$", output.partition("Broken contracts")[2], flags=re.M)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def _flat(text: str) -> str:
    return " ".join(text.split())
