"""One mutant, and the core with it: modules of their own, beside the real ones."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

from msgspec import Struct

from bastide.parts.raft.core.raft import Raft

CORE = "bastide.parts.raft.core"


class Mutant(Struct, frozen=True):
    """In `module` of the core `old` stands exactly once, and becomes `new`."""

    name: str
    meaning: str
    source: str  # where the bug is known from
    module: str
    old: str
    new: str


class Misfit(Exception):
    """The core has changed, and a mutant's text is not in it once."""


def patched(mutant: Mutant) -> str:
    """The module's source with the bug. Raises Misfit."""
    spec = find_spec(f"{CORE}.{mutant.module}")
    if spec is None or spec.origin is None:
        raise Misfit(f"{mutant.name}: the core has no module {mutant.module}")
    text = Path(spec.origin).read_text(encoding="utf-8")
    count = text.count(mutant.old)
    if count != 1:
        raise Misfit(f"{mutant.name}: its text is {count} times in {mutant.module}")
    return text.replace(mutant.old, mutant.new)


def core_with(mutant: Mutant) -> type[Raft]:
    """The class Raft of a core that has the bug; the real core's modules are as before."""
    with _set_aside(), _finder(f"{CORE}.{mutant.module}", patched(mutant)):
        return import_module(f"{CORE}.raft").Raft  # type: ignore[no-any-return] # of a module


@contextmanager
def _set_aside() -> Iterator[None]:
    core = sys.modules.get(CORE)
    ours = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith(CORE)}
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.startswith(CORE)]:
            del sys.modules[name]
        sys.modules.update(ours)
        if core is not None:
            vars(sys.modules["bastide.parts.raft"])["core"] = core


@contextmanager
def _finder(name: str, text: str) -> Iterator[None]:
    finder = Patched(name, text)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class Patched(MetaPathFinder, Loader):
    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._text = text

    def find_spec(
        self, fullname: str, path: object, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return spec_from_loader(fullname, self) if fullname == self._name else None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        code = compile(self._text, f"<mutant of {self._name}>", "exec")
        exec(code, module.__dict__)  # noqa: S102 (our own source, with a bug of ours)
