"""What the tests showed when they last ran: written by pytest, read by `tools.quality`.

tests/conftest.py registers the Recorder. At its end a run puts what it saw into RECORD, in place of
what was known of the same tests; those that did not run stay as they were, so that several runs
(all but engines and browser, -m engine, -m browser) add up to one record. A skip tells nothing new.

A test's line counts for as long as all that it was made of is as it was: its file, the conftests
and kits beside and above it, the sources of its system and of those that its marks name; for an
example its README. A test that is gone, or was changed to fail, counts no more, though nobody has
run it again. What was changed since in the base and in systems below is not seen: CI runs
everything on one tree. To begin anew, delete RECORD.
"""

import ast
import os
import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from bastide.base.errors import Refusal
from tools import tidy

RECORD = ".test-record.json"
FLOORS = ("engines", "apps", "parts")
MARKS = ("box", "limit", "shows")
SOURCES = (".py", ".html", ".css", ".js")
STORY = "tests/town/test_readmes.py::test_the_first_example_of_each_system_runs[{}]"

Outcome = Literal["passed", "skipped", "failed"]


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """One test. `marks` are as "box sql.kill"; `refused` names every error of a contract that was
    made while it ran, as "sql.RowsOver"; `file` is the digest of what it was made of.
    """

    outcome: Outcome
    file: str
    marks: Sequence[str] = ()
    refused: Sequence[str] = ()


class Record:
    """By "path::name[parameters]", from the project's root."""

    def __init__(self, tests: Mapping[str, Ran]) -> None:
        self.tests = tests

    def shown(self, mark: str) -> bool:
        """A test that bears the mark has passed, and none that bears it has failed."""
        outcomes = {ran.outcome for ran in self.tests.values() if mark in ran.marks}
        return "passed" in outcomes and "failed" not in outcomes

    def refused(self, error: str) -> bool:
        """A test that passed has met the error."""
        return any(error in r.refused for r in self.tests.values() if r.outcome == "passed")

    def passed(self, name: str) -> bool:
        return name in self.tests and self.tests[name].outcome == "passed"

    def suite(self, path: str, parameter: str) -> Sequence[Outcome]:
        """How those of a file ended that ran with this parameter."""
        found = []
        for name, ran in self.tests.items():
            file, _, rest = name.partition("::")
            if file == path and parameter in re.split(r"[\[\]-]", rest)[1:]:
                found.append(ran.outcome)
        return found


def read(root: Path) -> Record:
    """What still counts."""
    return Record(_counting(root))


def written(root: Path) -> Record:
    """As if every test that is written had run and passed: what could be shown at best. A mark's
    id is written out, not put together, or it is not seen here.
    """
    sources = (tidy.Source(root, p) for p in sorted((root / "tests").rglob("test_*.py")))
    marks = {mark for source in sources for mark in _written(source)}
    return Record({"": Ran(outcome="passed", file="", marks=sorted(marks))})


def _written(source: tidy.Source) -> Iterator[str]:
    for node, called in source.calls():
        match called.split("."), node.args:
            case ["pytest", "mark", name], [ast.Constant(str(id_))] if name in MARKS:
                yield f"{name} {id_}"


def _stored(root: Path) -> dict[str, Ran]:
    try:
        return msgspec.json.decode((root / RECORD).read_bytes(), type=dict[str, Ran])
    except (FileNotFoundError, msgspec.MsgspecError):  # or one of an earlier form
        return {}


def _counting(root: Path) -> dict[str, Ran]:
    digests = Digests(root)
    return {n: ran for n, ran in _stored(root).items() if ran.file == digests.of(n, ran.marks)}


class Digests:
    """What tests are made of, in short; each file is read once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files: dict[str, str] = {}
        folders = [f for f in (root / "src/bastide").glob("*/*/") if f.parent.name in FLOORS]
        self._systems = {folder.name: _digest(_sources(folder)) for folder in folders}

    def of(self, name: str, marks: Sequence[str]) -> str:
        """Of the test `name` that bears `marks`."""
        file = name.partition("::")[0]
        named = {mark.partition(" ")[2].partition(".")[0] for mark in marks}
        told = re.findall(re.escape(STORY).replace(r"\{\}", "([a-z]+)"), name)
        systems = sorted({Path(file).parent.name, *named, *told} & self._systems.keys())
        readmes = [_digest(self._root.glob(f"src/bastide/*/{one}/README.md")) for one in told]
        return ".".join([self.file(file), *(self._systems[one] for one in systems), *readmes])

    def file(self, file: str) -> str:
        """Of all its tests, whatever they bear."""
        if file not in self._files:
            self._files[file] = _digest(self._beside(file))
        return self._files[file]

    def _beside(self, file: str) -> Iterator[Path]:
        path = self._root / file
        yield path
        for folder in [f for f in path.parents if f.is_relative_to(self._root / "tests")]:
            yield from (p for p in folder.glob("*.py") if not p.name.startswith("test_"))


def _sources(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.suffix in SOURCES)


def _digest(paths: Iterable[Path]) -> str:
    digest = blake2b(digest_size=8)
    for path in sorted(paths):
        text = path.read_bytes() if path.is_file() else b"gone"
        digest.update(f"{path.name} {len(text)}\n".encode() + text)
    return digest.hexdigest()


class Recorder:
    """Looks on while tests run. A test is written down when it has been taken down: of one that was
    broken off in the middle, nothing is known.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._made = Refusal.__init__
        self._now: set[str] = set()
        self._running: dict[str, Ran] = {}
        self._seen: dict[str, Ran] = {}
        self._digests = Digests(root)  # now, before anything is imported: it may be edited later

    def pytest_sessionstart(self) -> None:
        made, now = self._made, self._now

        def noted(refusal: Refusal, message: str, **facts: str | int | float) -> None:
            module = type(refusal).__module__.split(".")
            if "contract" in module[3:]:
                now.add(f"{module[2]}.{type(refusal).__name__}")
            made(refusal, message, **facts)

        Refusal.__init__ = noted  # type: ignore[method-assign, assignment] # it only looks on

    def pytest_collectstart(self, collector: pytest.Collector) -> None:
        if isinstance(collector, pytest.Module):
            self._digests.file(collector.nodeid)

    def pytest_runtest_logstart(self) -> None:
        self._now.clear()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        marks = sorted(_marks(item))
        self._running[item.nodeid] = Ran(
            outcome=_worst(self._running.get(item.nodeid), report),
            file=self._digests.of(item.nodeid, marks),
            marks=marks,
            refused=sorted(self._now),
        )
        if report.when == "teardown":
            self._seen[item.nodeid] = self._running.pop(item.nodeid)
        return report

    def pytest_sessionfinish(self) -> None:
        Refusal.__init__ = self._made  # type: ignore[method-assign] # it has looked on
        known = _counting(self._root)
        news = {n: r for n, r in self._seen.items() if r.outcome != "skipped" or n not in known}
        part = self._root / f"{RECORD}.{os.getpid()}"  # of another run at the same time, another
        part.write_bytes(msgspec.json.encode({**known, **news}))
        part.replace(self._root / RECORD)


def _worst(before: Ran | None, report: pytest.TestReport) -> Outcome:
    """Of setup, call and teardown."""
    order: Sequence[Outcome] = ("passed", "skipped", "failed")
    return max(before.outcome if before else "passed", report.outcome, key=order.index)


def _marks(item: pytest.Item) -> Iterator[str]:
    for mark in item.iter_markers():
        if mark.name in MARKS:
            yield f"{mark.name} {mark.args[0]}"
