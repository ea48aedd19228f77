"""Habits that no other tool sees: sizes, rooms, where effects may be, what a comment owes.

python -m tools.tidy [ROOT]      prints what is wrong, one line each, and ends with 1 if anything is

A rule looks at one file (`RULES`) or at the whole tree (`TREE_RULES`) and yields where it is broken
and how. What import-linter, mypy and ruff can say is left to them.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 60
CLASS_VERBS_MAX = 20

ROOMS = {
    *("manifest", "wire", "api", "pages", "commands", "workers", "bench", "sim", "agent"),
    *("backends", "service", "tables", "core", "model", "contract"),
}
HEADINGS = (
    *("What", "Why", "Contract", "Design", "Numbers", "Limits", "Failure modes", "Sources"),
)
NAMES_REFUSED = {"util", "utils", "helper", "helpers", "manager", "common", "misc", "data", "info"}
# system, verb, client, outcome: calls; door, status: HTTP; task: background work; group: who hears
# on the bus. A label is never a key, a user or a path, or the number of series would grow with use.
LABELS = {"system", "verb", "client", "outcome", "door", "status", "task", "group", "backend"}

# Where files may be opened without base.rt's disk, beside rt itself and backends: what a person's
# command, a measurement or a program of its own reads; what the package ships; town.json.
FILES_OPENED_IN = ("commands", "bench", "sim", "agent", "testing", "html", "cli.py", "app.py")
FILE_CALLS = {
    *("open", "os.open", "io.open", "os.fdopen"),
    *(".read_text", ".read_bytes", ".write_text", ".write_bytes"),
}
CLOCK_CALLS = {
    *("datetime.now", "datetime.utcnow", "datetime.today", "date.today", "datetime.datetime.now"),
    *("datetime.date.today", "datetime.datetime.utcnow", "os.urandom", "os.times"),
    *("uuid.uuid1", "uuid.uuid4", "uuid1", "uuid4"),
}

NOQA = re.compile(r"# noqa(?!: [A-Z]+[0-9]+(, ?[A-Z]+[0-9]+)* \S)")
TYPE_IGNORE = re.compile(r"# type: ignore(?!\[[a-z, -]+\] \S)")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
SQL_TABLE = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE)\s+([a-z_]+)")
BOX_TICKED = re.compile(r"- \[x\] `([a-z0-9.-]+)`")
SQL_CREATES = re.compile(r"CREATE TABLE\s+(?:IF NOT EXISTS\s+)?([a-z_]+)", re.IGNORECASE)

Found = Iterator[tuple[int, str]]


class Finding(NamedTuple):
    path: Path
    line: int
    message: str


class Source:
    """One Python file. `parts` is its path below the root, `rooms` that below src/bastide."""

    def __init__(self, root: Path, path: Path) -> None:
        self.path = path.relative_to(root)
        self.parts = self.path.parts
        self.rooms = self.parts[2:] if self.parts[0] == "src" else ()
        self.text = path.read_text(encoding="utf-8")

    @cached_property
    def nodes(self) -> Sequence[ast.AST]:
        return list(ast.walk(ast.parse(self.text)))

    @cached_property
    def comments(self) -> Sequence[tuple[int, str]]:
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return [(t.start[0], t.string) for t in tokens if t.type == tokenize.COMMENT]

    @property
    def system(self) -> str:
        """ "ids" for a file below engines/ids; "" for what belongs to no system or part."""
        floors = ("engines", "apps", "parts")
        return self.rooms[1] if len(self.rooms) > 2 and self.rooms[0] in floors else ""

    def calls(self) -> Iterator[tuple[ast.Call, str]]:
        """Each call, and what is called: "datetime.now", or ".read_text" of an expression."""
        for node in self.nodes:
            if isinstance(node, ast.Call):
                yield node, _dotted(node.func)


def _dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(name):
            return name
        case ast.Attribute(ast.Name(name), attribute):
            return f"{name}.{attribute}"
        case ast.Attribute(ast.Attribute(ast.Name(module), name), attribute):
            return f"{module}.{name}.{attribute}"
        case ast.Attribute(_, attribute):
            return f".{attribute}"
    return ""


def _functions(node: ast.ClassDef) -> Sequence[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def file_size(source: Source) -> Found:
    lines = source.text.count("\n")
    if lines > FILE_LINES_MAX:
        yield 1, f"a file of {lines} lines; at most {FILE_LINES_MAX} are read in one go"


def function_size(source: Source) -> Found:
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield node.lineno, f"{node.name} has {lines} lines; at most {FUNCTION_LINES_MAX}"


def class_size(source: Source) -> Found:
    for node in source.nodes:
        if isinstance(node, ast.ClassDef):
            verbs = [f.name for f in _functions(node) if not f.name.startswith("_")]
            if len(verbs) > CLASS_VERBS_MAX:
                yield node.lineno, f"{node.name} has {len(verbs)} verbs; at most {CLASS_VERBS_MAX}"


def clock_by_rt(source: Source) -> Found:
    if not source.rooms or source.rooms[:2] == ("base", "rt") or "backends" in source.rooms:
        return
    for node, called in source.calls():
        if called in CLOCK_CALLS:
            yield node.lineno, f"{called}() asks the machine; base.rt has clock and chance"


def files_by_rt(source: Source) -> Found:
    rooms = {*source.rooms, *(room.removesuffix(".py") for room in source.rooms)}
    if not rooms or "rt" in rooms or "backends" in rooms or rooms & set(FILES_OPENED_IN):
        return
    for node, called in source.calls():
        if called in FILE_CALLS or f".{called.rpartition('.')[2]}" in FILE_CALLS:
            yield node.lineno, f"{called}() opens a file; base.rt's disk does it"


def labels_are_few(source: Source) -> Found:
    for node, called in source.calls():
        if source.rooms and called.rpartition(".")[2] in ("counter", "histogram", "gauge"):
            for keyword in node.keywords:
                if keyword.arg is not None and keyword.arg not in LABELS:
                    known = ", ".join(sorted(LABELS))
                    yield node.lineno, f"the label {keyword.arg}; known are {known}"


def comments_owe_reasons(source: Source) -> Found:
    for line, comment in source.comments:
        if NOQA.search(comment):
            yield line, "`noqa` needs its codes, and its reason behind them"
        if TYPE_IGNORE.search(comment):
            yield line, "`type: ignore` needs its code in brackets, and its reason behind it"
        if UNFINISHED.search(comment):
            yield line, "finish it, or say in the issue that it is left out"


def skips_owe_reasons(source: Source) -> Found:
    for node, called in source.calls():
        name = called.rpartition(".")[2]
        reasoned = any(k.arg == "reason" for k in node.keywords)
        if name in ("skip", "xfail") and not reasoned and not (node.args and "mark" not in called):
            yield node.lineno, f"{called} without a reason"
        if name in ("skipif", "importorskip") and not reasoned:
            yield node.lineno, f"{called} without a reason"
    for function in source.nodes:
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in function.decorator_list:
                if _dotted(decorator) in ("pytest.mark.skip", "pytest.mark.xfail"):
                    yield decorator.lineno, f"{_dotted(decorator)} without a reason"


def contracts_are_typed(source: Source) -> Found:
    if not source.system or source.rooms[2] != "contract.py":
        return
    for node in source.nodes:
        if isinstance(node, ast.Name) and node.id == "Any":
            yield node.lineno, "`Any` in a contract: its callers are left without a type"


def contracts_are_told(source: Source) -> Found:
    if not source.system or source.rooms[2] != "contract.py":
        return
    for node in source.nodes:
        if isinstance(node, ast.ClassDef) and any(_dotted(b) == "Protocol" for b in node.bases):
            for verb in _functions(node):
                if ast.get_docstring(verb) is None:
                    yield verb.lineno, f"the verb {verb.name} of a contract has no docstring"


def names_say_something(source: Source) -> Found:
    for name in source.rooms:
        if name.removesuffix(".py") in NAMES_REFUSED:
            yield 1, f"{name} says nothing of what is inside"


def one_name_one_path(source: Source) -> Found:
    for node in source.nodes:
        if isinstance(node, ast.Assign) and any(_dotted(t) == "__all__" for t in node.targets):
            yield node.lineno, "`__all__`: a name is imported from where it is written"


RULES: Sequence[Callable[[Source], Found]] = (
    *(file_size, function_size, class_size, clock_by_rt, files_by_rt, labels_are_few),
    *(comments_owe_reasons, skips_owe_reasons, contracts_are_typed, contracts_are_told),
    *(names_say_something, one_name_one_path),
)


class Tree:
    """All that the project is written in."""

    def __init__(self, root: Path) -> None:
        self.root = root
        folders = (root / folder for folder in ("src", "tests", "tools"))
        paths = sorted(path for folder in folders for path in folder.rglob("*.py"))
        self.sources = [Source(root, path) for path in paths]

    def systems(self) -> Iterator[Path]:
        for floor in ("engines", "apps"):
            for path in sorted((self.root / "src/bastide" / floor).glob("*/")):
                if not path.name.startswith("__"):
                    yield path.relative_to(self.root)


TreeFound = Iterator[Finding]


def rooms_are_known(tree: Tree) -> TreeFound:
    for system in tree.systems():
        names = {p.name for p in (tree.root / system).iterdir() if p.name != "__pycache__"}
        for name in sorted(names - {"README.md", "__init__.py"}):
            if name.removesuffix(".py") not in ROOMS:
                yield Finding(system / name, 1, "no room of a system (ARCHITECTURE.md, rooms)")
        if not names & {"manifest.py", "manifest"}:
            yield Finding(system, 1, "a system without a manifest")


def readmes_are_whole(tree: Tree) -> TreeFound:
    for system in tree.systems():
        path = tree.root / system / "README.md"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        found = [line[3:].strip() for line in text.splitlines() if line.startswith("## ")]
        if tuple(heading for heading in found if heading in HEADINGS) != HEADINGS:
            wanted = ", ".join(HEADINGS)
            yield Finding(system / "README.md", 1, f"its headings are, in this order: {wanted}")


def tables_are_their_systems(tree: Tree) -> TreeFound:
    """No SQL names another system's table; a part's tables begin with its name."""
    owners: dict[str, set[str]] = {}
    for source, line, table in _tables_made(tree):
        owners.setdefault(table, set()).add(source.system)
        if source.rooms[0] == "parts" and not table.startswith(f"{source.system}_"):
            yield Finding(source.path, line, f"{table}: a part's tables begin with its name")
    for source in (s for s in tree.sources if s.system):
        for line, text in _texts(source):
            for table in SQL_TABLE.findall(text):
                if source.system not in owners.get(table, {source.system}):
                    owner = ", ".join(sorted(owners[table]))
                    yield Finding(source.path, line, f"{table} is a table of {owner}")


def _tables_made(tree: Tree) -> Iterator[tuple[Source, int, str]]:
    for source in (s for s in tree.sources if s.system):
        for node, called in source.calls():
            if called in ("Table", "sqlalchemy.Table") and node.args:
                match node.args[0]:
                    case ast.Constant(str(name)):
                        yield source, node.lineno, name
        for line, text in _texts(source):
            for name in SQL_CREATES.findall(text):
                yield source, line, name


def _texts(source: Source) -> Iterator[tuple[int, str]]:
    """String constants that are no docstrings."""
    prose = {id(n.value) for n in source.nodes if isinstance(n, ast.Expr)}
    for node in source.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.lineno, node.value


def boxes_are_known(tree: Tree) -> TreeFound:
    """A test's @pytest.mark.box("shortener.gone") names a box in that system's README, and a box
    that is ticked there is named by a test.
    """
    tested = set()
    for source in tree.sources:
        for node, called in source.calls():
            if called == "pytest.mark.box" and isinstance(node.args[0], ast.Constant):
                box = str(node.args[0].value)
                tested.add(box)
                if f"`{box}`" not in _readme_of(tree, box.partition(".")[0]):
                    yield Finding(source.path, node.lineno, f"no README has the box `{box}`")
    for path in sorted((tree.root / "src/bastide").glob("*/*/README.md")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            match = BOX_TICKED.match(line)
            if match and match[1] not in tested:
                message = f"no test is marked with the ticked box `{match[1]}`"
                yield Finding(path.relative_to(tree.root), number, message)


def _readme_of(tree: Tree, name: str) -> str:
    paths = sorted((tree.root / "src/bastide").glob(f"*/{name}/README.md"))
    return "".join(path.read_text(encoding="utf-8") for path in paths)


TREE_RULES: Sequence[Callable[[Tree], TreeFound]] = (
    *(rooms_are_known, readmes_are_whole, tables_are_their_systems, boxes_are_known),
)


def check(root: Path) -> Iterator[Finding]:
    tree = Tree(root)
    for source in tree.sources:
        for rule in RULES:
            for line, message in rule(source):
                yield Finding(source.path, line, message)
    for tree_rule in TREE_RULES:
        yield from tree_rule(tree)


def main(words: Sequence[str]) -> int:
    findings = sorted(check(Path(words[0] if words else ".").resolve()))
    for finding in findings:
        print(f"{finding.path}:{finding.line}: {finding.message}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
