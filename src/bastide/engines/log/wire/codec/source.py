"""Python that is written by Python: lines, indented, and the names that they use."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Source:
    """Of one function. It is built from our own tables alone; nothing that a peer sent is in it."""

    def __init__(self, head: str, names: dict[str, Any]) -> None:
        self._lines = [head]
        self._indent = "    "
        self._names = dict(names)
        self._count = 0

    def line(self, *texts: str) -> None:
        self._lines += [self._indent + text for text in texts]

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        self.line(head)
        self._indent += "    "
        yield
        self._indent = self._indent[:-4]

    def name(self) -> str:
        """One that was not used before."""
        self._count += 1
        return f"v{self._count}"

    def constant(self, name: str, value: object) -> str:
        """Has `value` known as `name` in the function, if no such name is known yet."""
        self._names.setdefault(name, value)
        return name

    def text(self) -> str:
        return "\n".join(self._lines)

    def build(self, name: str) -> Callable[..., Any]:
        code = compile(self.text(), f"<log codec: {name}>", "exec")
        exec(code, self._names)  # noqa: S102 the text is made of our tables, and tests compile all
        function: Callable[..., Any] = self._names[name]
        return function
