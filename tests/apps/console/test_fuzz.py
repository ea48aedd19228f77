"""Whatever is asked of the console, by its schema or by none: a page, a document, or a refusal."""

import os
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bastide.apps.console import api, pages
from tests.base.running import running

EXAMPLES = int(os.environ.get("BASTIDE_TEST_ROUNDS", "1")) * 8
STEMS = sorted({row.path.partition("{")[0] for row in (*api.ROWS, *pages.ROWS)})
TAILS = ("", "/settings", "/backends", "/metrics", "/pulse")
WORD = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    with running("ids", "console", data=tmp_path_factory.mktemp("town")) as address:
        yield address


@pytest.mark.shows("console.errors")
def test_no_request_of_the_schema_is_a_fault(address) -> None:
    schema = schemathesis.openapi.from_url(f"{address}/schema").include(tag="console")
    operations = [result.ok() for result in schema.get_all_operations()]
    paths = {operation.path.removeprefix("/console") for operation in operations}
    assert paths == {row.path for row in api.ROWS}
    for operation in operations:
        assert_no_fault(operation)


def assert_no_fault(operation) -> None:
    @given(case=operation.as_strategy())
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    def ask(case) -> None:
        checks = [schemathesis.checks.not_a_server_error, problem_is_told]
        case.validate_response(case.call(), checks=checks)

    ask()


def problem_is_told(ctx, reply, case) -> None:
    if reply.status_code >= 400:
        assert reply.headers["content-type"] == ["application/problem+json"], reply.text
        assert reply.json()["title"]


@pytest.mark.shows("console.errors")
@given(
    stem=st.sampled_from(STEMS),
    name=st.text(max_size=150) | st.sampled_from(["ids", "sql", "console"]),
    tail=st.sampled_from(TAILS),
    method=st.sampled_from(["GET", "HEAD", "POST", "DELETE", "OPTIONS"]),
    query=st.dictionaries(st.sampled_from(["at", "page", "x"]), st.text(max_size=150)),
    accept=st.sampled_from(["text/html", "application/json", "*/*"]),
    cookie=WORD | WORD.map(lambda word: f"bastide_scheme={word}"),
)
@settings(max_examples=EXAMPLES * 20, deadline=None)
def test_no_path_query_or_cookie_is_a_fault(
    address, stem, name, tail, method, query, accept, cookie
) -> None:
    path = stem + quote(name.encode("utf-8", "replace"), safe="") + tail
    headers = {"accept": accept, "cookie": cookie.strip()}
    with httpx.Client(base_url=address) as client:
        reply = client.request(method, path, params=query, headers=headers)
        rail = client.get("/fragments/rail", params=query, headers=headers)
    assert reply.status_code < 500, reply.text
    assert rail.status_code < 500, rail.text
    if reply.status_code >= 400 and method != "HEAD":
        assert "urn:bastide:" in reply.text
