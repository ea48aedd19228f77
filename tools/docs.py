"""The tables in the READMEs, made from the code, so that they can't lie.

python -m tools.docs             says which table is not as the code has it, and ends with 1
python -m tools.docs --write     writes them

A table stands between `<!-- generated:NAME -->` and `<!-- /generated -->`. A system's README has
settings, backends, metrics and commands, those that it has any of; the root's has systems, their
quality, and the town's own settings and metrics. A table that has no place yet is written at the
end: move it.
"""

import ast
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from bastide.base.levels import UNRATED, ratings
from bastide.base.manifest import Command, Manifest, load
from bastide.base.settings import Setting
from bastide.town import all_manifests, all_settings

PLACE = re.compile(r"<!-- generated:([a-z]+) -->\n.*?<!-- /generated -->", re.DOTALL)
METRICS = ("counter", "gauge", "histogram")

Rows = Sequence[Sequence[str]]


def check(root: Path, *, write: bool) -> Sequence[str]:
    """What is wrong, or, after writing, nothing."""
    wrong = []
    for path, tables in wanted(root).items():
        if not path.exists():
            wrong.append(f"{path.relative_to(root)}: is missing")
            continue
        text = path.read_text(encoding="utf-8")
        renewed = filled(text, tables)
        if renewed != text and write:
            path.write_text(renewed, encoding="utf-8")
        elif renewed != text:
            shown = path.relative_to(root)
            wrong.append(f"{shown}: a table is out of date: run python -m tools.docs --write")
    return wrong


def filled(text: str, tables: Mapping[str, str]) -> str:
    """`text` with each table in its place; one that nobody wants any more is taken out."""
    places = set(PLACE.findall(text))
    for name in tables:
        if name not in places:
            text = f"{text.rstrip()}\n\n<!-- generated:{name} -->\n<!-- /generated -->\n"
    return PLACE.sub(lambda place: _section(place.group(1), tables), text)


def _section(name: str, tables: Mapping[str, str]) -> str:
    inside = f"\n{tables[name]}\n\n" if name in tables else ""
    return f"<!-- generated:{name} -->\n{inside}<!-- /generated -->"


def wanted(root: Path) -> Mapping[Path, Mapping[str, str]]:
    package = root / "src/bastide"
    found = {root / "README.md": _town_tables(package)}
    for manifest in all_manifests():
        folder = package / manifest.floor / manifest.name
        found[folder / "README.md"] = _system_tables(manifest, folder)
    return found


def _town_tables(package: Path) -> Mapping[str, str]:
    names = {m.provides: m.name for m in all_manifests()}
    systems = [
        (
            f"[{m.name}](src/bastide/{m.floor}/{m.name}/README.md)",
            m.summary,
            ", ".join(names[need] for need in m.needs),
        )
        for m in all_manifests()
    ]
    return _tables(
        systems=(("System", "What it is", "Stands on"), systems),
        quality=(QUALITY_HEAD, [_quality(m.name) for m in all_manifests()]),
        settings=(SETTINGS_HEAD, _settings(all_settings()[""])),
        metrics=(METRICS_HEAD, sorted(set(metrics(package / "base")))),
    )


SETTINGS_HEAD = ("Variable", "Default", "Meaning")
METRICS_HEAD = ("Metric", "Kind", "Meaning")
QUALITY_HEAD = ("System", "Level", "Misses next", "Misses then", "Can't apply")


def _quality(system: str) -> Sequence[str]:
    """As it was computed last: see tools/quality.py."""
    rating = ratings().get(system)
    if rating is None:
        return (system, UNRATED, "", "", "")
    missed = [f"{check}: {todo}" for check, todo in rating.missed.items()][:1]
    exempt = [f"{what}: {why}" for what, why in rating.exempt.items()]
    return (
        system,
        rating.level,
        *(missed or [""]),
        ", ".join([*rating.missed][1:]),
        "; ".join(exempt),
    )


def _system_tables(manifest: Manifest, folder: Path) -> Mapping[str, str]:
    commands: Sequence[Command] = load(manifest.commands) if manifest.commands else ()
    backends = [
        (f"`{scheme}://`", backend.reach, f"`{backend.extra}`" if backend.extra else "")
        for scheme, backend in manifest.backends.items()
    ]
    lines = [(f"`bastide {manifest.name} {c.name}`", c.summary) for c in commands]
    return _tables(
        settings=(SETTINGS_HEAD, _settings(all_settings()[manifest.name])),
        backends=(("URL", "Reaches", "Needs the extra"), backends),
        metrics=(METRICS_HEAD, sorted(set(metrics(folder)))),
        commands=(("Command", "What it does"), lines),
    )


def _settings(settings: Sequence[Setting]) -> Rows:
    return [(f"`{s.variable}`", f"`{s.default}`" if s.default else "", s.meaning) for s in settings]


def _tables(**tables: tuple[Sequence[str], Rows]) -> Mapping[str, str]:
    return {name: table(head, rows) for name, (head, rows) in tables.items() if rows}


def table(head: Sequence[str], rows: Rows) -> str:
    lines = [head, ["---"] * len(head), *([c.replace("|", "\\|") for c in r] for r in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def metrics(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Name, kind and meaning of every metric that the code below `folder` makes.

    Read from the code and not from a running town, where those that count rare things are not yet.
    So name and meaning are written where the metric is made, or are constants of the module.
    """
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        known = dict(_constants(tree))
        for node in ast.walk(tree):
            match node:
                case ast.Call(ast.Attribute(on, kind), [name, meaning, *_]) if (
                    kind in METRICS and _is_registry(on)
                ):
                    yield f"`{_text(name, known)}`", kind, _text(meaning, known)


def _is_registry(node: ast.expr) -> bool:
    name = ast.unparse(node).rpartition(".")[2].lstrip("_")
    return name in ("metrics", "registry")


def _constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        match node:
            case ast.Assign([ast.Name(name)], ast.Constant(str(text))):
                yield name, text


def _text(node: ast.expr, known: Mapping[str, str]) -> str:
    match node:
        case ast.Constant(str(text)):
            return text
        case ast.Name(name) if name in known:
            return known[name]
    raise SystemExit(f"a metric's name and meaning must be texts, not {ast.unparse(node)}")


def main(words: Sequence[str], say: Callable[[str], None] = print) -> int:
    wrong = check(Path(__file__).resolve().parent.parent, write="--write" in words)
    for line in wrong:
        say(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
