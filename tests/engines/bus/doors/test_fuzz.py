"""Whatever is asked of the bus's doors, by their schema or by none: an answer, or a refusal."""

import os
from urllib.parse import quote

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bastide.engines.bus import api, pages
from tests.base.running import running

EXAMPLES = int(os.environ.get("BASTIDE_TEST_ROUNDS", "1")) * 8
STEMS = sorted({row.path.partition("{")[0] for row in (*api.ROWS, *pages.ROWS)})
WORD = st.text(max_size=40) | st.sampled_from(["shortener", "shortener/0", "shortener/0/replay"])
NUMBER = st.integers().map(str) | st.text(max_size=20)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with running("shortener", data=tmp_path_factory.mktemp("town")) as town:
        yield f"{town}/bus"


@pytest.mark.shows("bus.errors")
def test_no_request_of_the_schema_is_a_fault(address):
    url = address.removesuffix("/bus")
    schema = schemathesis.openapi.from_url(f"{url}/schema").include(tag="bus")
    operations = [result.ok() for result in schema.get_all_operations()]
    assert {one.path.removeprefix("/bus") for one in operations} == {row.path for row in api.ROWS}
    for operation in operations:
        assert_no_fault(operation)


def assert_no_fault(operation):
    @given(case=operation.as_strategy())
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    def ask(case):
        checks = [schemathesis.checks.not_a_server_error, problem_is_told]
        case.validate_response(case.call(), checks=checks)

    ask()


def problem_is_told(ctx, reply, case):
    if reply.status_code >= 400:
        assert reply.headers["content-type"] == ["application/problem+json"], reply.text
        assert reply.json()["title"]


@pytest.mark.shows("bus.errors")
@given(
    stem=st.sampled_from(STEMS),
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE"]),
    rest=WORD,
    query=st.dictionaries(st.sampled_from(["before", "limit", "cursor", "x"]), NUMBER),
)
@settings(max_examples=EXAMPLES * 5, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_path_and_no_query_is_a_fault(address, stem, method, rest, query):
    with httpx.Client(base_url=address) as client:
        path = stem + quote(rest.encode("utf-8", "replace"), safe="/")
        reply = client.request(method, path, params=query)
    assert reply.status_code < 500, (method, path, query, reply.text)


@pytest.mark.shows("bus.errors")
@given(form=st.dictionaries(st.sampled_from(["action", "offset", "x"]), WORD | NUMBER))
@settings(max_examples=EXAMPLES * 5, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_form_is_a_fault(address, form):
    with httpx.Client(base_url=address, headers={"accept": "text/html"}) as client:
        reply = client.post("/dead/shortener", data=form)
    assert 400 <= reply.status_code < 500, (form, reply.text)
