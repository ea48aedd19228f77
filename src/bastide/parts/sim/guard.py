"""No real disk, network, thread or process during a simulation.

Python tells an audit hook of every such call. What a run needs of the real machine is to import
its own code and read what lies beside it; all else is refused where it is called, and fails the run
even if the caller takes the error. A hook can't be taken out again: between runs it does nothing.
Not seen: what C code does without telling Python, such as a native database that opens its file.
"""

import os
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from bastide.parts.sim.contract import RealEffect

FAMILIES = (
    "socket.",
    "subprocess.",
    "os.",
    "shutil.",
    "tempfile.",
    "fcntl.",
    "signal.",
    "time.",
    "_thread.start_new",
    "sqlite3.connect",
)
HARMLESS = ("os.fwalk", "os.walk", "socket.__new__")  # followed by what they do
READING = ("os.listdir", "os.scandir")
_PATHS = sysconfig.get_paths()
READABLE = tuple(
    {os.path.realpath(_PATHS[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    | {str(Path(__file__).resolve().parents[3])}
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_refused: Callable[[RealEffect], None] | None = None
_is_hooked = False


@contextmanager
def guarded(refused: Callable[[RealEffect], None]) -> Iterator[None]:
    """Within the block real effects are refused and told."""
    global _refused, _is_hooked
    if not _is_hooked:
        _is_hooked = True
        sys.addaudithook(_look)
    before, writes = _refused, sys.dont_write_bytecode
    _refused, sys.dont_write_bytecode = refused, True
    try:
        yield
    finally:
        _refused, sys.dont_write_bytecode = before, writes


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    if _refused is None:
        return
    if event == "open":
        allowed = _may_open(*arguments)
    elif event in READING:
        allowed = _may_read(arguments[0])
    else:
        allowed = not event.startswith(FAMILIES) or event in HARMLESS
    if allowed:
        return
    refuse(f"{event} {arguments!r}")


def refuse(what: str) -> NoReturn:
    """Tell of a real effect, and raise where it was tried."""
    error = RealEffect(what)
    if _refused is not None:
        _refused(error)
    raise error


def _may_open(path: Any, mode: str | None, flags: int) -> bool:
    writes = flags & _WRITING or (mode is not None and set(mode) & set("wax+"))
    return not writes and _may_read(path)


def _may_read(path: Any) -> bool:
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    found = os.path.abspath(os.fsdecode(path))
    return found.startswith(READABLE) or found in sys.path
