"""A path finds its endpoint: exact paths by one look-up, patterns by a walk over their segments."""

import re
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from bastide.base.manifest import Miswired

E = TypeVar("E")

_PARAMETER = re.compile(r"\{([a-z_]+)(:path)?\}")
_ENDED = re.compile(r"\{([a-z_]+)\}([^{}]+)")


def parameters_of(path: str) -> set[str]:
    return {match.group(1) for match in _PARAMETER.finditer(path)}


class _Node(Generic[E]):
    """One segment: children by its text, by its end, one child for any text, and one that takes
    the rest.
    """

    def __init__(self) -> None:
        self.exact: dict[str, _Node[E]] = {}
        self.ended: dict[str, _Node[E]] = {}
        self.any: _Node[E] | None = None
        self.rest: _Node[E] | None = None
        self.names: list[str] = []
        self.methods: dict[str, E] = {}


class Router(Generic[E]):
    """`find(path)` gives the endpoints by method and the path's parameters. An exact segment wins
    over a parameter with an end (`{code}+`), that over a parameter, a parameter over the rest.
    """

    def __init__(self) -> None:
        self._static: dict[str, dict[str, E]] = {}
        self._root: _Node[E] = _Node()

    def add(self, method: str, path: str, endpoint: E) -> None:
        """
        Raises:
            Miswired: the same method and path are taken.
        """
        node, names = self._root, []
        for segment in path.split("/")[1:]:
            node = _child(node, segment)
            if match := _PARAMETER.fullmatch(segment) or _ENDED.fullmatch(segment):
                names.append(match.group(1))
        if method in node.methods:
            raise Miswired(f"{method} {path} is served twice")
        node.names, node.methods[method] = names, endpoint
        if not names:
            self._static[path] = node.methods

    def find(self, path: str) -> tuple[Mapping[str, E], Mapping[str, str]] | None:
        methods = self._static.get(path)
        if methods is not None:
            return methods, {}
        values: list[str] = []
        node = _match(self._root, path.split("/"), 1, values)
        return None if node is None else (node.methods, dict(zip(node.names, values, strict=True)))


def _child(node: _Node[E], segment: str) -> _Node[E]:
    if match := _ENDED.fullmatch(segment):
        return node.ended.setdefault(match.group(2), _Node())
    match = _PARAMETER.fullmatch(segment)
    if match is None:
        return node.exact.setdefault(segment, _Node())
    if match.group(2):
        node.rest = node.rest or _Node()
        return node.rest
    node.any = node.any or _Node()
    return node.any


def _match(node: _Node[E], segments: Sequence[str], at: int, values: list[str]) -> _Node[E] | None:
    """The node where the path ends, with its parameters in `values`. A way that leads nowhere is
    gone back.
    """
    if at == len(segments):
        return node if node.methods else None
    segment = segments[at]
    if (exact := node.exact.get(segment)) and (found := _match(exact, segments, at + 1, values)):
        return found
    for end, ended in node.ended.items():
        if segment.endswith(end) and segment != end:
            value = segment.removesuffix(end)
            if found := _behind(ended, value, segments, at, values):
                return found
    if node.any and segment and (found := _behind(node.any, segment, segments, at, values)):
        return found
    if node.rest:
        values.append("/".join(segments[at:]))
        return node.rest
    return None


def _behind(
    node: _Node[E], value: str, segments: Sequence[str], at: int, values: list[str]
) -> _Node[E] | None:
    values.append(value)
    found = _match(node, segments, at + 1, values)
    if found is None:
        values.pop()
    return found
