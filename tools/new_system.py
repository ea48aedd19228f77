"""A new system: `python -m tools.new_system engines|apps NAME "summary"`.

It gets the rooms that nearly every system has, a door, a README, a test and its line in THE LIST,
and does one small thing, to be replaced verb by verb: it greets. So it passes every check at once.
"""

import keyword
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

FLOORS = ("engines", "apps")
NAME = re.compile(r"[a-z]{2,30}")
NAMES_TAKEN = ("bench", "console", "env", "list", "quality", "test", "town", "up")
SUMMARY_CHARS_MAX = 80
LIST = Path("src/bastide/systems.py")
LIST_END = '    "bastide.apps.console",\n'  # it shows all others, so it stays the last

CONTRACT = '''\
"""$summary

    Refusal
     └── Invalid      NameWrong
"""

from typing import Protocol

import msgspec

from bastide.base.errors import Invalid

NAME_CHARS_MAX = 100


class NameWrong(Invalid):
    """A name is empty, or has more than NAME_CHARS_MAX characters."""


class Greeting(msgspec.Struct, frozen=True):
    text: str


class $title(Protocol):
    """What others may ask of it."""

    async def greet(self, name: str) -> Greeting:
        """A greeting for `name`, 1 to NAME_CHARS_MAX characters. O(1).

        Raises:
            NameWrong
        """
        ...
'''

SERVICE = '''\
"""The verbs of $name."""

from bastide.$floor.$name.contract import NAME_CHARS_MAX, Greeting, NameWrong


class ${title}Service:
    async def greet(self, name: str) -> Greeting:
        if not 1 <= len(name) <= NAME_CHARS_MAX:
            message = f"a name of {len(name)} characters; 1 to {NAME_CHARS_MAX} are taken"
            raise NameWrong(message)
        return Greeting(f"Hello, {name}")
'''

API = '''\
"""The doors of $name."""

from bastide.base.gate import anyone
from bastide.base.routes.rows import route
from bastide.$floor.$name.contract import $title, Greeting, NameWrong


async def greet(system: $title, who: str) -> Greeting:
    return await system.greet(who)


DOORS = (route("GET", "/api/greetings/{who}", greet, allow=anyone, refusals=[NameWrong]),)
'''

MANIFEST = '''\
"""What $name is, and how it opens."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bastide.base.manifest import Manifest, Use
from bastide.$floor.$name.contract import $title
from bastide.$floor.$name.service import ${title}Service


@asynccontextmanager
async def open_$name(_: Use) -> AsyncIterator[$title]:
    yield ${title}Service()


MANIFEST = Manifest(
    name="$name",
    floor="$floor",
    summary="$summary",
    provides=$title,
    open=open_$name,
    doors=("bastide.$floor.$name.api:DOORS",),
    try_line="curl '{http}/api/greetings/you'",
)
'''

README = """\
# $name: $summary

```sh
curl -sf $$HTTP/api/greetings/you
```

## What

It greets whoever is named.

## Why

## Contract

`greet(name) -> Greeting`, or NameWrong.

- [x] `$name.greets` Whoever is named is greeted.

## Design

## Numbers

## Limits

A name has 1 to 100 characters.

## Failure modes

It keeps nothing, so there is nothing to lose.

## Sources
"""

TEST = """\
import pytest

from bastide.$floor.$name.contract import NAME_CHARS_MAX
from bastide.testing.town import raised

LIMIT = [(NAME_CHARS_MAX, 200), (NAME_CHARS_MAX + 1, 400)]


@pytest.mark.box("$name.greets")
async def test_whoever_is_named_is_greeted() -> None:
    async with raised("$name") as town:
        client = await town.client("$name")
        reply = await client.get("/api/greetings/you")
        assert reply.json() == {"text": "Hello, you"}


@pytest.mark.limit("$name.NAME_CHARS_MAX")
@pytest.mark.parametrize(("chars", "status"), LIMIT)
async def test_a_name_has_at_most_its_limit_of_characters(chars: int, status: int) -> None:
    async with raised("$name") as town:
        client = await town.client("$name")
        reply = await client.get("/api/greetings/" + "n" * chars)
        assert reply.status_code == status
"""


def refusal(root: Path, floor: str, name: str, summary: str) -> str:
    """Why this system can't be made; "" if it can."""
    if floor not in FLOORS:
        return f"the floor is engines or apps, not {floor}"
    if not NAME.fullmatch(name) or keyword.iskeyword(name) or name in NAMES_TAKEN:
        return f"{name}: a name has 2 to 30 letters a to z, and is no word of Python or of the town"
    if any((root / "src/bastide" / other / name).exists() for other in (*FLOORS, "parts")):
        return f"{name} is there already"
    if not summary.isprintable() or not 1 <= len(summary) <= SUMMARY_CHARS_MAX or '"' in summary:
        return f"a summary is a line of 1 to {SUMMARY_CHARS_MAX} characters without double quotes"
    return "" if "\\" not in summary else "a summary has no backslash"


def files(floor: str, name: str, summary: str) -> Mapping[Path, str]:
    system, tests = Path("src/bastide") / floor / name, Path("tests") / floor / name
    texts = {
        system / "__init__.py": '"""$summary"""\n',
        system / "contract.py": CONTRACT,
        system / "service.py": SERVICE,
        system / "api.py": API,
        system / "manifest.py": MANIFEST,
        system / "README.md": README,
        tests / f"test_{name}.py": TEST,
    }
    words = {"floor": floor, "name": name, "title": name.capitalize(), "summary": summary}
    return {path: Template(text).substitute(words) for path, text in texts.items()}


def make(root: Path, floor: str, name: str, summary: str) -> None:
    for path, text in files(floor, name, summary).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    listed = (root / LIST).read_text(encoding="utf-8")
    line = f'    "bastide.{floor}.{name}",\n'
    (root / LIST).write_text(listed.replace(LIST_END, line + LIST_END), encoding="utf-8")


def main(words: Sequence[str]) -> int:
    root = Path(__file__).resolve().parent.parent
    if len(words) != 3:
        print('usage: scripts/new-system engines|apps NAME "summary"', file=sys.stderr)
        return 2
    if why := refusal(root, *words):
        print(f"new-system: {why}", file=sys.stderr)
        return 2
    make(root, *words)
    made = [str(path) for path in files(*words) if path.suffix == ".py"]
    for program in (
        ["ruff", "check", "--quiet", "--fix", "--select", "I", *made],
        ["ruff", "format", "--quiet", *made],
        ["tools.docs", "--write"],
    ):
        subprocess.run([sys.executable, "-m", *program], cwd=root, check=True)  # noqa: S603 (ours)
    print(f"src/bastide/{words[0]}/{words[1]} is made; scripts/up --only {words[1]} opens it")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
