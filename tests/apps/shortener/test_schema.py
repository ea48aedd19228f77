"""What /schema promises, asked by a stranger: schemathesis makes the requests, and finds no 5xx.

The town is real, and so is its network. Besides what the schema describes, the redirect and the
pages get whatever path a fuzzer thinks of.
"""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from urllib.parse import quote

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bastide.apps.shortener.api import ROWS
from bastide.apps.shortener.bench import running_town

EXAMPLES = int(os.environ.get("BASTIDE_TEST_ROUNDS", "1")) * 8


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("town")) as address:
        yield address


@contextmanager
def running(data: Path) -> Iterator[str]:
    """A town in a process of its own, for tests that are not async."""
    found, ready, done = [], Event(), Event()

    async def run() -> None:
        async with running_town(data) as town:
            found.append(town.address)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = Thread(target=asyncio.run, args=(run(),))
    thread.start()
    assert ready.wait(30), "the town did not start"
    try:
        yield found[0]
    finally:
        done.set()
        thread.join()


@pytest.fixture(scope="module")
def key(address) -> str:
    reply = httpx.post(f"{address}/api/shorten", json={"original_url": "https://a.example"})
    return reply.json()["manage_key"]


@pytest.mark.box("shortener.bad-input")
def test_no_request_of_the_schema_is_a_fault(address, key):
    schema = schemathesis.openapi.from_url(f"{address}/schema").include(tag="shortener")
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) == len([row for row in ROWS if row.listed])
    for operation in operations:
        assert_no_fault(operation, key)


def assert_no_fault(operation, key) -> None:
    @given(case=operation.as_strategy(), headers=st.sampled_from([{}, bearer(key)]))
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    def ask(case, headers):
        reply = case.call(headers=headers)
        checks = [schemathesis.checks.not_a_server_error, problem_is_told]
        case.validate_response(reply, checks=checks)

    ask()


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def problem_is_told(ctx, reply, case) -> None:
    if reply.status_code >= 400:
        assert reply.headers["content-type"] == ["application/problem+json"], reply.text
        assert reply.json()["title"]


@given(path=st.text(max_size=40), method=st.sampled_from(["GET", "HEAD", "POST", "OPTIONS"]))
@settings(max_examples=EXAMPLES * 5, deadline=None)
def test_no_path_is_a_fault(address, path, method):
    with httpx.Client(base_url=address) as client:
        reply = client.request(method, "/" + quote(path))
    assert reply.status_code < 500


@given(
    fields=st.dictionaries(st.sampled_from(["original_url", "custom_code", "key", "x"]), st.text())
)
@settings(max_examples=EXAMPLES * 2, deadline=None)
def test_no_form_is_a_fault(address, fields):
    with httpx.Client(base_url=address) as client:
        for path in ("/", "/manage"):
            assert client.post(path, data=fields).status_code < 500
