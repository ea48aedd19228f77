"""The router against a naive one: try every pattern, the most exact first."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.base.manifest import Miswired
from bastide.base.routes.router import Router

SEGMENTS = st.sampled_from(["a", "b", "c", "{x}", "{y}", "{x}+"])
LAST = st.sampled_from(["", "a", "{z}", "{z}+", "{rest:path}"])
PATTERNS = st.builds(
    lambda middle, last: "/" + "/".join([*middle, last]), st.lists(SEGMENTS, max_size=3), LAST
)
PATHS = st.lists(st.sampled_from(["a", "b", "c", "d", "", "a+", "d++", "+"]), max_size=5).map(
    lambda segments: "/" + "/".join(segments)
)


def shape(pattern: str) -> tuple[str, ...]:
    """Patterns of one shape take the same paths."""
    return tuple(
        "*" if s.endswith(":path}") else "?+" if s.endswith("}+") else "?" if s[:1] == "{" else s
        for s in pattern.split("/")[1:]
    )


def naive(patterns: Sequence[str], path: str) -> tuple[str, dict[str, str]] | None:
    """The match whose segments, from the left, are more exact than any other's."""
    segments = path.split("/")[1:]
    found = [(p, v) for p in patterns if (v := _values(p.split("/")[1:], segments)) is not None]
    rank = {"?+": 1, "?": 2, "*": 3}
    return min(found, key=lambda f: [rank.get(s, 0) for s in shape(f[0])], default=None)


def _values(pattern: Sequence[str], segments: Sequence[str]) -> dict[str, str] | None:
    values = {}
    for place, piece in enumerate(pattern):
        if place >= len(segments):
            return None
        if piece.endswith(":path}"):
            return {**values, piece[1:-6]: "/".join(segments[place:])}
        if piece.endswith("}+"):
            if len(segments[place]) < 2 or segments[place][-1] != "+":
                return None
            values[piece[1:-2]] = segments[place][:-1]
        elif piece.startswith("{"):
            if not segments[place]:
                return None
            values[piece[1:-1]] = segments[place]
        elif piece != segments[place]:
            return None
    return values if len(pattern) == len(segments) else None


@given(st.lists(PATTERNS, max_size=8, unique_by=shape), PATHS)
def test_the_router_finds_what_a_naive_one_finds(patterns: list[str], path: str) -> None:
    patterns = [p for p in patterns if len(set(_names(p))) == len(_names(p))]
    router: Router[str] = Router()
    for pattern in patterns:
        router.add("GET", pattern, pattern)
    expected = naive(patterns, path)
    found = router.find(path)
    assert (found and (found[0]["GET"], dict(found[1]))) == expected


def _names(pattern: str) -> list[str]:
    return [s.removesuffix("+") for s in pattern.split("/") if s.startswith("{")]


def test_methods_of_a_path_stand_together() -> None:
    router: Router[str] = Router()
    router.add("GET", "/links/{code}", "read")
    router.add("DELETE", "/links/{code}", "delete")
    methods, values = router.find("/links/abc")
    assert methods == {"GET": "read", "DELETE": "delete"}
    assert values == {"code": "abc"}


@pytest.mark.parametrize("other", ["/links/{code}", "/links/{name}"])
def test_the_same_door_is_not_served_twice(other: str) -> None:
    router: Router[str] = Router()
    router.add("GET", "/links/{code}", "read")
    with pytest.raises(Miswired, match="is served twice"):
        router.add("GET", other, "again")


def test_a_path_is_taken_as_it_is() -> None:
    router: Router[str] = Router()
    router.add("GET", "/files/{rest:path}", "file")
    assert router.find("/files/a//b/../c")[1] == {"rest": "a//b/../c"}
    assert router.find("/files") is None
    assert router.find("/") is None


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/new+", ("exact", {})),
        ("/abc+", ("ended", {"code": "abc"})),
        ("/abc++", ("ended", {"code": "abc+"})),
        ("/abc", ("any", {"code": "abc"})),
        ("/+", ("any", {"code": "+"})),
        ("/abc+/more", ("rest", {"rest": "abc+/more"})),
    ],
)
def test_an_exact_path_wins_over_one_with_an_end_and_that_over_any(path: str, found) -> None:
    router: Router[str] = Router()
    for pattern, name in (
        *(("/{rest:path}", "rest"), ("/{code}", "any")),
        *(("/{code}+", "ended"), ("/new+", "exact")),
    ):
        router.add("GET", pattern, name)
    methods, values = router.find(path)
    assert (methods["GET"], values) == found


def test_the_same_end_is_not_served_twice() -> None:
    router: Router[str] = Router()
    router.add("GET", "/{code}+", "read")
    with pytest.raises(Miswired, match="is served twice"):
        router.add("GET", "/{name}+", "again")
