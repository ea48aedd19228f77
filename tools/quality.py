"""The quality scale, computed: which checks a system passes, and so how far it has come.

bastide quality [SYSTEM] [--json]     all checks, and for each system the next one that it misses;
                                      of one system, all that it misses
bastide quality --write               the same, and keeps it: base/levels.json, and README's table
python -m tools.quality               says where levels.json claims more than the tree bears, in
                                      seconds and without running a test; ends with 1 if it does
python -m tools.quality --ran         the same of all checks, after all tests: where it claims more
                                      than they showed

    bronze, it stands   shape typed alone story readme limits tidy
    silver, it holds    must-do conformance client errors restart outage repeat watch migrate

A level needs all checks of those below it. Nothing is claimed: a check asks the tree, runs a
program, or asks the record of the tests (tools/record.py) for one that bears a mark and passed:

    @pytest.mark.box("sql.kill")            shows that box of the README's acceptance list
    @pytest.mark.limit("sql.SCANS_MAX")     shows that limit at its maximum and one above it
    @pytest.mark.shows("sql.restart")       shows that check: `SHOWN` says what it has to show

That the right tests bear a mark is for readers to judge; that every body, queue and page has a
limit, too: what is computed is that each `_MAX` of the contract has its test. What can't apply is
exempted in the manifest with its reason: `exempt={"client": "..."}`, or one box, limit or error.
"""

import ast
import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import httpx
import msgspec

from bastide.base import levels
from bastide.base.errors import Refusal, Unavailable
from bastide.base.levels import FILE, UNRATED, Rating
from bastide.base.manifest import Manifest, Miswired, load
from bastide.base.rt import runtime
from bastide.town import all_manifests, manifests
from tools import docs, record, tidy

ROOT = Path(__file__).resolve().parent.parent
LEVELS_PATH = Path("src/bastide/base") / FILE
ALONE_S_MAX = 2.0
ALONE_TRIES = 3  # another program may hold the machine
GAPS_TOLD = 3
EXAMPLE = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LIMIT = re.compile(r"^([A-Z0-9_]+_MAX)\b[^=\n]*=", re.MULTILINE)
UP = "import sys; sys.path.insert(0, sys.argv.pop(1)); import bastide.cli as c; sys.exit(c.main())"

FELL_OVER = "nothing was checked"
SHARED_IMPORTS = r"bastide\.base\S* ->"

SHOWN = {
    "errors": "that nothing but refusals comes of fuzzed input",
    "restart": "kill -9 in the middle of writes, and all that was acknowledged there afterwards",
    "outage": "Unavailable in time while what it stands on is away, and no restart when it is back",
    "repeat": "one effect of the same request made twice with the same key",
    "watch": "calls, errors and latency by owner, health, and no secret in logs",
    "client": "a client that we did not write driving it",
    "migrate": "each released schema brought to now, with rows in it",
}


class Gap(msgspec.Struct, frozen=True):
    """What a check misses: `item` may be exempted by itself, and is "" if it may not."""

    item: str
    todo: str


class Tree:
    """All that the checks look at, each read or run when it is first asked for."""

    def __init__(self, root: Path, tests: record.Record) -> None:
        self.root = root
        self.tests = tests

    @cached_property
    def findings(self) -> Sequence[tidy.Finding]:
        return list(tidy.check(self.root))

    @cached_property
    def docs(self) -> Sequence[str]:
        return docs.check(self.root, write=False)

    @cached_property
    def imports(self) -> str:
        said = self.said("lint-imports", "--no-logo")
        return said.partition("Broken contracts\n")[2] or (said and FELL_OVER)

    @cached_property
    def types(self) -> str:
        return self.said("mypy")

    def said(self, program: str, *words: str) -> str:
        """What it says is wrong; "" if nothing is."""
        found = shutil.which(program, path=Path(sys.executable).parent)
        if found is None:
            raise Unavailable(f"{program} is not installed: scripts/setup dev")
        environ = {**os.environ, "PYTHONPATH": str(self.root / "src")}
        ended = subprocess.run(  # noqa: S603 (of this environment)
            [found, *words], cwd=self.root, env=environ, capture_output=True, text=True
        )
        return (ended.stdout + ended.stderr) if ended.returncode else ""

    def readme(self, manifest: Manifest) -> str:
        path = self.root / _folder(manifest) / "README.md"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def alone(self, manifest: Manifest) -> str:
        """Why it doesn't open by itself and close in time; "" if it does."""
        why = ""
        for _ in range(ALONE_TRIES):
            started_s = runtime.monotonic()
            why = asyncio.run(_opened_alone(self.root / "src", manifest))
            took_s = runtime.monotonic() - started_s
            if not why and took_s <= ALONE_S_MAX:
                return ""
            why = why or f"it took {took_s:.1f} s to open, serve and close; {ALONE_S_MAX} are given"
        return why


Check = Callable[[Manifest, Tree], Iterator[Gap]]


def _folder(manifest: Manifest) -> str:
    return f"src/bastide/{manifest.floor}/{manifest.name}"


def shape(manifest: Manifest, tree: Tree) -> Iterator[Gap]:
    if _is_blamed(tree.imports, rf"bastide\.{manifest.floor}\.{manifest.name}\b", SHARED_IMPORTS):
        yield Gap("", "its imports break a rule: lint-imports")


def typed(manifest: Manifest, tree: Tree) -> Iterator[Gap]:
    if _is_blamed(tree.types, f"{_folder(manifest)}/", "src/bastide/base/"):
        yield Gap("", "its types don't fit: mypy")
    for path in sorted((tree.root / _folder(manifest)).rglob("*.py")):
        source = tidy.Source(tree.root, path)
        any_ = any(isinstance(n, ast.Name) and n.id == "Any" for n in source.nodes)
        if any_ and _room(source) in ("contract", "model"):
            yield Gap("", f"`Any` in {source.path}: name the type")


def _is_blamed(said: str, own: str, shared: str) -> bool:
    """What is wrong below all systems is of each, and so is a program that fell over."""
    return bool(said) and ("bastide" not in said or bool(re.search(f"{own}|{shared}", said)))


def alone(manifest: Manifest, tree: Tree) -> Iterator[Gap]:
    if why := tree.alone(manifest):
        yield Gap("", f"bastide up --only {manifest.name}: {why}")


async def _opened_alone(sources: Path, manifest: Manifest) -> str:
    with tempfile.TemporaryDirectory(prefix="bastide-alone-") as directory:
        words = ["-c", UP, str(sources), "up", "--only", manifest.name, "--http", "127.0.0.1:0"]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *words,
            cwd=directory,
            env={},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(10):
                return await _served(process, Path(directory) / "bastide-data", manifest)
        except TimeoutError:
            return "it was not done in 10 s"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _served(process: asyncio.subprocess.Process, data: Path, manifest: Manifest) -> str:
    assert process.stdout is not None
    while not (line := await process.stdout.readline()).startswith(b"ready in"):
        if not line:
            _, said = await process.communicate()
            return f"it did not open: {said.decode().strip() or 'it said nothing'}"
    town = msgspec.json.decode((data / "town.json").read_bytes())
    async with httpx.AsyncClient() as client:
        health = (await client.get(f"{town['http']}/healthz")).json()
        pages = [r for d in manifest.doors for r in load(d) if (r.method, r.path) == ("GET", "/")]
        own = town["systems"].get(manifest.name, {}).get("http")
        page = await client.get(f"{own}/", headers={"accept": "text/html"}) if pages else None
    process.send_signal(signal.SIGINT)
    _, said = await process.communicate()
    if not health["systems"][manifest.name]["ok"]:
        return f"it is not well: {health['systems'][manifest.name]['error']}"
    if page is not None and page.status_code != 200:
        return f"its page answers {page.status_code}"
    return f"it did not close: {said.decode().strip()}" if process.returncode else ""


def story(manifest: Manifest, tree: Tree) -> Iterator[Gap]:
    if EXAMPLE.search(tree.readme(manifest)) is None:
        yield Gap("", "its README has no example")
    elif not tree.tests.passed(record.STORY.format(manifest.name)):
        yield Gap("", "its README's first example has not run: scripts/test tests/town")


def readme(manifest: Manifest, tree: Tree) -> Iterator[Gap]:
    path = f"{_folder(manifest)}/README.md"
    for finding in tree.findings:
        if str(finding.path) == path:
            yield Gap("", finding.message)
    for line in tree.docs:
        if line.startswith(f"{path}:"):
            yield Gap("", line)


def limits(manifest: Manifest, tree: Tree) -> Iterator[Gap]:
    for path in sorted((tree.root / _folder(manifest)).rglob("*.py")):
        source = tidy.Source(tree.root, path)
        for name in LIMIT.findall(source.text) if _room(source) == "contract" else ():
            limit = f"{manifest.name}.{name}"
            if not tree.tests.shown(f"limit {limit}"):
                yield Gap(limit, f'no passed test bears mark.limit("{limit}")')


def _room(source: tidy.Source) -> str:
    return source.rooms[2].removesuffix(".py")


def is_tidy(manifest: Manifest, tree: Tree) -> Iterator[Gap]:
    folders = (_folder(manifest), f"tests/{manifest.floor}/{manifest.name}")
    for finding in tree.findings:
        if any(Path(folder) in (finding.path, *finding.path.parents) for folder in folders):
            yield Gap("", f"{finding.path}:{finding.line}: {finding.message}")


def must_do(manifest: Manifest, tree: Tree) -> Iterator[Gap]:
    found = boxes(manifest, tree.readme(manifest))
    if not found:
        yield Gap("", "its README has no acceptance list")
    for box in found:
        if not tree.tests.shown(f"box {box}"):
            yield Gap(box, f'no passed test bears mark.box("{box}")')


def boxes(manifest: Manifest, text: str) -> Sequence[str]:
    found: Sequence[str] = re.findall(rf"`({manifest.name}\.[a-z0-9-]+)`", text)
    return list(dict.fromkeys(found))


def conformance(manifest: Manifest, tree: Tree) -> Iterator[Gap]:
    """Every backend is a parameter of test_contract.py, by its scheme, and passed it unskipped.
    Schemes of one opener are one backend.
    """
    suite = f"tests/{manifest.floor}/{manifest.name}/test_contract.py"
    openers: dict[str, list[str]] = {}
    for scheme, backend in manifest.backends.items():
        openers.setdefault(backend.opener, []).append(scheme)
    for schemes in openers.values():
        outcomes = {outcome for s in schemes for outcome in tree.tests.suite(suite, s)}
        if outcomes != {"passed"}:
            told = ", ".join(sorted(outcomes)) or "not run"
            yield Gap(f"{manifest.name}.{schemes[0]}", f"{suite} on {schemes[0]}: {told}")
    if manifest.backends and all(b.reach != "cluster" for b in manifest.backends.values()):
        yield Gap("", "none of its backends is a real engine")


def client(manifest: Manifest, tree: Tree) -> Iterator[Gap]:
    """curl is one: a story that calls it is enough."""
    example = EXAMPLE.search(tree.readme(manifest))
    by_curl = example is not None and example[1] == "sh" and "curl" in example[2]
    if not (by_curl and tree.tests.passed(record.STORY.format(manifest.name))):
        yield from _shown(manifest, tree, "client")


def errors(manifest: Manifest, tree: Tree) -> Iterator[Gap]:
    """Raised, not named: the record has seen it made."""
    for name in _errors(f"bastide.{manifest.floor}.{manifest.name}.contract"):
        error = f"{manifest.name}.{name}"
        if not tree.tests.refused(error):
            yield Gap(error, f"no passed test raises {name}")
    yield from _shown(manifest, tree, "errors")


def _errors(contract: str) -> Sequence[str]:
    """Of its own: those that it imports belong to others."""
    found = vars(import_module(contract)) if find_spec(contract) else {}
    own = (v for v in found.values() if isinstance(v, type) and v.__module__.startswith(contract))
    return sorted({error.__name__ for error in own if issubclass(error, Refusal)})


def migrate(manifest: Manifest, tree: Tree) -> Iterator[Gap]:
    """A history of one step has nothing to come from."""
    if manifest.migrations and len(load(manifest.migrations).steps) > 1:
        yield from _shown(manifest, tree, "migrate")


def _shown(manifest: Manifest, tree: Tree, check: str) -> Iterator[Gap]:
    mark = f"{manifest.name}.{check}"
    if not tree.tests.shown(f"shows {mark}"):
        yield Gap("", f'no passed test bears mark.shows("{mark}"): {SHOWN[check]}')


def _by_mark(check: str) -> Check:
    return lambda manifest, tree: _shown(manifest, tree, check)


SCALE: Mapping[str, Mapping[str, Check]] = {
    "bronze": {
        "shape": shape,
        "typed": typed,
        "alone": alone,
        "story": story,
        "readme": readme,
        "limits": limits,
        "tidy": is_tidy,
    },
    "silver": {
        "must-do": must_do,
        "conformance": conformance,
        "client": client,
        "errors": errors,
        **{check: _by_mark(check) for check in ("restart", "outage", "repeat", "watch")},
        "migrate": migrate,
    },
}
CHECKS = {name: check for level in SCALE.values() for name, check in level.items()}
# Those that `written` tests can speak for, and those that no test is needed for.
CHEAP = ("readme", "limits", "tidy", "must-do", "restart", "outage", "repeat", "watch", "migrate")


def rated(manifest: Manifest, tree: Tree) -> Rating:
    """All checks of one system."""
    found = {name: _missed(name, manifest, tree) for name in CHECKS}
    missed = {name: todo for name, todo in found.items() if todo}
    return Rating(level=level_of(missed), missed=missed, exempt=dict(exemptions(manifest)))


def _missed(check: str, manifest: Manifest, tree: Tree) -> str:
    exempt = exemptions(manifest)
    if check in exempt:
        return ""
    try:
        gaps = [gap.todo for gap in CHECKS[check](manifest, tree) if gap.item not in exempt]
    except Exception as fault:  # of a system that is being built anything may be broken
        return f"it could not be looked at: {type(fault).__name__}: {fault}"
    more = [f"and {len(gaps) - GAPS_TOLD} more"] if len(gaps) > GAPS_TOLD else []
    return "; ".join([*gaps[:GAPS_TOLD], *more])


def exemptions(manifest: Manifest) -> Mapping[str, str]:
    """
    Raises:
        Miswired: one is of no check and of nothing of the system's, or has no reason.
    """
    for what, why in manifest.exempt.items():
        if not why or not (what in CHECKS or what.startswith(f"{manifest.name}.")):
            raise Miswired(f"{manifest.name} exempts {what!r}: a check and a reason are needed")
    return manifest.exempt


def level_of(missed: Mapping[str, str]) -> str:
    """The highest whose checks, and those of all below, are passed."""
    reached = UNRATED
    for level, checks in SCALE.items():
        if any(check in missed for check in checks):
            break
        reached = level
    return reached


def stored(root: Path) -> Mapping[str, Rating]:
    return msgspec.json.decode((root / LEVELS_PATH).read_bytes(), type=dict[str, Rating])


def stale(tree: Tree, checks: Collection[str]) -> Iterator[str]:
    """Where levels.json claims more than `checks` find."""
    kept = stored(tree.root)
    for name in sorted(set(kept) - {m.name for m in all_manifests()}):
        yield f"{name}: there is no such system"
    for manifest in all_manifests():
        rating = kept.get(manifest.name, Rating(level=UNRATED, missed=dict.fromkeys(CHECKS, "")))
        if rating.level != level_of(rating.missed):
            yield f"{manifest.name}: {rating.level} is not what its checks give"
        if manifest.name in kept and rating.exempt != exemptions(manifest):
            yield f"{manifest.name}: other checks are exempted in its manifest"
        for check in (c for c in checks if c not in rating.missed):
            if todo := _missed(check, manifest, tree):
                yield f"{manifest.name}: {check}: {todo}"


def report(system: str | None, *, as_json: bool, write: bool) -> None:
    """Computes, prints, and keeps it if told to."""
    tree = Tree(ROOT, record.read(ROOT))
    chosen = [m for m in manifests([system] if system else []) if system in (None, m.name)]
    ratings = {m.name: rated(m, tree) for m in chosen}
    if as_json:
        print(msgspec.json.encode(ratings).decode())
    else:
        print("\n".join(lines(ratings, told=len(CHECKS) if system else 1)))
    if write:
        names = [m.name for m in all_manifests()]
        both = {**stored(ROOT), **ratings}
        text = msgspec.json.encode({name: both[name] for name in names if name in both})
        (ROOT / LEVELS_PATH).write_bytes(msgspec.json.format(text, indent=2) + b"\n")
        levels.ratings.cache_clear()
        docs.check(ROOT, write=True)


def lines(ratings: Mapping[str, Rating], *, told: int) -> Iterator[str]:
    """`told`: of how many missed checks it is said what to do."""
    for name, rating in ratings.items():
        passed = CHECKS.keys() - rating.missed.keys() - rating.exempt.keys()
        yield f"{name}: {rating.level}, {len(passed)} of {len(CHECKS)} checks"
        for check, todo in [*rating.missed.items()][:told]:
            yield f"    next   {check}: {todo}"
        if later := [*rating.missed][told:]:
            yield f"    then   {', '.join(later)}"
        for what, why in rating.exempt.items():
            yield f"    can't  {what}: {why}"


def main(words: Sequence[str]) -> int:
    if "--ran" in words:
        found = list(stale(Tree(ROOT, record.read(ROOT)), tuple(CHECKS)))
    else:
        found = list(stale(Tree(ROOT, record.written(ROOT)), CHEAP))
    for line in found:
        print(f"{LEVELS_PATH}: {line}: run bastide quality --write")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
