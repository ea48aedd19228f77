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
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bastide.apps.shortener.api import ROWS
from bastide.apps.shortener.bench import running_town
from bastide.apps.shortener.core.exports import EXPORTERS, HEADER, read_csv

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


@pytest.mark.shows("shortener.errors")
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


@pytest.mark.shows("shortener.errors")
@given(path=st.text(max_size=40), method=st.sampled_from(["GET", "HEAD", "POST", "OPTIONS"]))
@settings(max_examples=EXAMPLES * 5, deadline=None)
def test_no_path_is_a_fault(address, path, method):
    with httpx.Client(base_url=address) as client:
        reply = client.request(method, "/" + quote(path))
    assert reply.status_code < 500


@pytest.mark.shows("shortener.errors")
@given(
    fields=st.dictionaries(st.sampled_from(["original_url", "custom_code", "key", "x"]), st.text())
)
@settings(max_examples=EXAMPLES * 2, deadline=None)
def test_no_form_is_a_fault(address, fields):
    with httpx.Client(base_url=address) as client:
        for path in ("/", "/manage"):
            assert client.post(path, data=fields).status_code < 500


CELLS = st.one_of(
    st.sampled_from(["https://a.example/", "code", "true", "-1", "1e9", "2027-01-01", "'=1", "[]"]),
    st.sampled_from(['[{"when":{},"original_url":1}]', '[{"when":{"after":"0001-01-01T00:00Z"}}]']),
    st.text(max_size=20),
)
TABLES = st.builds(
    lambda names, rows, mark, end: end.join(mark.join(cells) for cells in [names, *rows]),
    st.sampled_from([exporter.needs for exporter in EXPORTERS]).map(sorted),
    st.lists(st.lists(CELLS, max_size=14), max_size=5),
    st.sampled_from(",;\t"),
    st.sampled_from(["\n", "\r\n"]),
)
OURS = st.lists(st.lists(CELLS, min_size=len(HEADER), max_size=len(HEADER)), max_size=5).map(
    lambda rows: "\r\n".join([",".join(HEADER), *(",".join(cells) for cells in rows)])
)
FILES = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=100).map(lambda data: b"original_url,code\n" + data),
    *(s.map(lambda text: text.encode("utf-8", "surrogatepass")) for s in (TABLES, OURS)),
    st.text(max_size=100).map(lambda text: text.encode("utf-16", "surrogatepass")),
)


@pytest.mark.shows("shortener.errors")
@pytest.mark.box("shortener.files")
@given(data=FILES, with_key=st.booleans(), days=st.sampled_from(["", "?expires_days=1", "?a=b"]))
@settings(max_examples=EXAMPLES * 10, deadline=None)
def test_no_file_is_a_fault(address, key, data, with_key, days):
    headers = {"content-type": "text/csv", **(bearer(key) if with_key else {})}
    with httpx.Client(base_url=address) as client:
        reply = client.post(f"/api/links/import.csv{days}", content=data, headers=headers)
        assert reply.status_code in (200, 400), reply.text
        export = client.get("/api/links/export.csv", headers=bearer(key))
        assert export.status_code == 200
        read_csv(export.content)


# Whatever a rule says, its link can be told back: to its owner, and to whoever lists.
TEXTS = st.text(max_size=5)
WHEN = st.fixed_dictionaries(
    {},
    optional={
        "device": st.lists(st.sampled_from(["mobile", "desktop", "fridge"]), max_size=2),
        "language": st.lists(st.one_of(st.sampled_from(["de", "en-GB"]), TEXTS), max_size=2),
        "country": st.lists(st.one_of(st.sampled_from(["CH", "fi", "ß"]), TEXTS), max_size=2),
        "query": st.dictionaries(TEXTS, TEXTS, max_size=2),
        **dict.fromkeys(
            ("after", "before"),
            st.one_of(
                st.sampled_from(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]),
                st.sampled_from(["9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00Z"]),
                st.datetimes().map(lambda at: f"{at.isoformat()}Z"),
            ),
        ),
    },
)


@pytest.mark.shows("shortener.errors")
@given(when=WHEN, language=TEXTS)
@settings(max_examples=EXAMPLES * 5, deadline=None)
def test_no_rule_is_a_fault(address, key, when, language):
    asked = {
        "original_url": "https://a.example",
        "rules": [{"when": when, "original_url": "https://b.example"}],
    }
    with httpx.Client(base_url=address, headers=bearer(key)) as client:
        body = msgspec.json.encode(asked)
        made = client.post(
            "/api/shorten", content=body, headers={"content-type": "application/json"}
        )
        assert made.status_code in (201, 400), made.text
        assert client.get("/api/links").status_code == 200
        if made.status_code == 201:
            visit = {"accept-language": quote(language)}
            assert client.get(f"/{made.json()['short_code']}", headers=visit).status_code == 302


@pytest.mark.box("shortener.rules")
@pytest.mark.parametrize(
    ("at", "status"),
    [
        ("0001-01-01T00:00:00+14:00", 400),
        ("0001-01-01T00:00:00Z", 201),
        ("9999-12-31T23:59:59.999Z", 201),
        ("9999-12-31T23:59:59.999999Z", 400),
        ("9999-12-31T23:59:59-14:00", 400),
    ],
)
def test_a_rules_time_is_one_that_can_be_told_back(at, status, address):
    """It was stored and could not be shown: a list with such a link in it was 500 for good."""
    asked = {
        "original_url": "https://a.example",
        "rules": [{"when": {"after": at}, "original_url": "https://b.example"}],
    }
    reply = httpx.post(f"{address}/api/shorten", json=asked)
    assert reply.status_code == status
    if status == 400:
        assert reply.json()["type"] == "urn:bastide:rule-wrong"
