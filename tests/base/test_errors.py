import msgspec
import pytest

from bastide.base.errors import (
    FAULT,
    KINDS,
    Conflict,
    Denied,
    Gone,
    Invalid,
    Limited,
    Mismatch,
    NotFound,
    Refusal,
    TooLarge,
    Unauthenticated,
    Unavailable,
    kind_of,
    shown,
)

TABLE = [
    (Invalid("i"), "invalid", 400, 2),
    (TooLarge("t"), "too-large", 413, 2),
    (Denied("d"), "denied", 403, 3),
    (Unauthenticated("u"), "unauthenticated", 401, 3),
    (NotFound("n"), "not-found", 404, 4),
    (Gone("g"), "gone", 410, 4),
    (Conflict("c"), "conflict", 409, 5),
    (Mismatch("m"), "mismatch", 422, 5),
    (Limited("l", retry_after_s=3), "limited", 429, 6),
    (Unavailable("a"), "unavailable", 503, 7),
]


@pytest.mark.parametrize(("error", "name", "status", "exit_code"), TABLE)
def test_each_kind_has_its_status_and_its_exit_code(
    error: Refusal, name: str, status: int, exit_code: int
) -> None:
    problem = shown(error, instance="urn:x")
    assert (problem.type, problem.status) == (f"urn:bastide:{name}", status)
    assert problem.detail == str(error)
    assert problem.instance == "urn:x"
    assert kind_of(error).exit_code == exit_code


def test_there_are_six_kinds_and_a_fault_and_no_two_exit_alike() -> None:
    codes = [kind.exit_code for kind in (*KINDS.values(), FAULT)]
    assert len(KINDS) == 6
    assert len(set(codes)) == 7
    assert 0 not in codes
    assert 1 not in codes


def test_an_error_of_a_system_is_shown_by_its_own_name_and_its_kinds_title() -> None:
    class LinkMissing(NotFound):
        pass

    problem = shown(LinkMissing("no such link", code="abc"))
    assert problem.type == "urn:bastide:link-missing"
    assert problem.title == KINDS[NotFound].title
    assert problem.facts == {"code": "abc"}


def test_a_fault_says_nothing_of_its_inside() -> None:
    problem = shown(KeyError("password of the database"))
    assert problem.status == 500
    assert b"password" not in msgspec.json.encode(problem)
    assert kind_of(KeyError()) is FAULT


def test_what_the_caller_needs_to_act_on_is_among_the_facts() -> None:
    assert Limited("slowly", retry_after_s=2.5).facts == {"retry_after_s": 2.5}
    assert Unavailable("away").facts == {"outcome": "none"}
    assert Unavailable("lost", outcome="unknown").outcome == "unknown"
