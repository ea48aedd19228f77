"""Whatever is asked, by its schema or by none: an id, or a refusal."""

import os
from urllib.parse import quote

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bastide.base.errors import Refusal
from bastide.engines.ids.api import DOORS
from bastide.engines.ids.contract import BLOCK_MAX
from bastide.testing.town import raised
from tests.base.running import running

EXAMPLES = int(os.environ.get("BASTIDE_TEST_ROUNDS", "1")) * 8
FUZZED = settings(max_examples=EXAMPLES * 5, deadline=None, suppress_health_check=list(HealthCheck))
ASYNC_VERBS = ("number", "code", "key")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with running("ids", data=tmp_path_factory.mktemp("town")) as town:
        yield f"{town}/ids"


@pytest.mark.shows("ids.errors")
def test_no_request_of_the_schema_is_a_fault(address):
    url = address.removesuffix("/ids")
    schema = schemathesis.openapi.from_url(f"{url}/schema").include(tag="ids")
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) == len(DOORS)
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


@pytest.mark.shows("ids.errors")
@given(
    door=st.sampled_from([row.path.partition("{")[0] for row in DOORS]),
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "OPTIONS"]),
    rest=st.text(max_size=80),
    query=st.dictionaries(st.sampled_from(["count", "length", "x"]), st.text(max_size=30)),
)
@FUZZED
def test_no_path_and_no_query_is_a_fault(address, door, method, rest, query):
    with httpx.Client(base_url=address) as client:
        path = door + quote(rest.encode("utf-8", "replace"), safe="")
        reply = client.request(method, path, params=query)
    assert reply.status_code < 500
    if reply.status_code >= 400 and method != "HEAD":
        assert reply.json()["title"]


@pytest.fixture
async def ids():
    async with raised("ids") as town:
        yield town.served("ids")


@pytest.mark.shows("ids.errors")
@FUZZED
@given(
    verb=st.sampled_from(ASYNC_VERBS),
    series=st.text(st.characters(), max_size=70) | st.from_regex(r"[a-z][a-z0-9._-]*\Z"),
    length=st.integers() | st.integers(0, 12),
)
async def test_any_series_and_length_counts_or_is_refused(ids, verb, series, length):
    options = {} if verb == "number" else {"length": length}
    try:
        made = await getattr(ids, verb)(series, **options)
    except Refusal:
        return
    assert made >= 0 if verb == "number" else length <= len(made) <= 10


@pytest.mark.shows("ids.errors")
@FUZZED
@given(
    count=st.integers() | st.integers(BLOCK_MAX - 1, BLOCK_MAX + 1),
    length=st.integers() | st.integers(0, 66),
    id_=st.integers() | st.integers(2**63 - 2, 2**63 + 2),
)
async def test_any_number_makes_ids_or_is_refused(ids, count, length, id_):
    made = told(lambda: ids.block(count))
    assert isinstance(made, Refusal) or 1 <= len(made) <= count
    word = told(lambda: ids.random(length=length))
    assert isinstance(word, Refusal) or len(word) == length
    said = told(lambda: ids.decode(id_))
    assert isinstance(said, Refusal) or 0 <= id_ < 2**63


def told(ask):
    """What it answers, or its refusal. Anything else that comes out fails the test."""
    try:
        return ask()
    except Refusal as refusal:
        return refusal
