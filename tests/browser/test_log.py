"""The log's pages, as somebody sees them: at every width and scheme, and as records come."""

import json
import shlex
from urllib.parse import quote

import httpx
import pytest

from bastide.engines.log.contract import TOPIC_BYTES_MAX
from tests.browser.conftest import running_town

LONG = "readings." + "x" * (TOPIC_BYTES_MAX - 9)
GROUP = "billing of the north/" + "g" * 60


@pytest.fixture(scope="module")
def log(town):
    """Where the log is; with a topic that a group has read a part of."""
    address = town.address("log")
    with httpx.Client(base_url=address) as client:
        for topic in ("orders", LONG):
            values = [{"value": json.dumps({"order": n}), "key": f"c{n}"} for n in range(60)]
            values += [{"value_base64": "//79/A=="}, {"key": "k" * 300}, {"value": "x" * 5000}]
            sent = client.post(f"/api/topics/{topic}/records", json={"records": values})
            assert sent.status_code == 201
    return address


@pytest.fixture(scope="module")
def group(town, log):
    """One that has come, read and gone, as a Kafka client."""
    from confluent_kafka import Consumer, TopicPartition

    servers = {"bootstrap.servers": town.systems["log"]["kafka"]}
    consumer = Consumer({**servers, "group.id": GROUP, "enable.auto.commit": False})
    for topic in ("orders", LONG):
        consumer.commit(offsets=[TopicPartition(topic, 0, 20)], asynchronous=False)
    consumer.close()
    return f"{log}/groups/{quote(GROUP)}"


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A log that nobody uses."""
    with running_town(tmp_path_factory.mktemp("log"), "--only", "log") as town:
        yield town


def test_an_empty_log_is_without_barriers_and_its_lines_work(alone, page, faults_of, look) -> None:
    width, scheme = look
    tab = page(f"{alone.address('log')}/", width=width, scheme=scheme)
    assert tab.get_by_text("No topic yet").count() == 1
    assert faults_of(tab, f"log-empty-{width}-{scheme}") == []
    lines = tab.locator("[data-copy^='echo hello']")
    if lines.count():
        words = shlex.split(lines.first.get_attribute("data-copy"))
        assert words[words.index("-b") + 1] == alone.systems["log"]["kafka"]


@pytest.mark.parametrize(
    "path", ["/", "/topics/orders", f"/topics/{LONG}"], ids=["log", "topic", "long"]
)
def test_every_page_is_without_barriers_and_fits_its_width(
    log, group, page, faults_of, look, path
) -> None:
    width, scheme = look
    tab = page(log + path, width=width, scheme=scheme)
    assert tab.locator("h1").count() == 1
    assert faults_of(tab, f"log-{len(path)}-{width}-{scheme}") == []


def test_a_groups_page_is_without_barriers_and_fits_its_width(group, page, faults_of, look) -> None:
    width, scheme = look
    tab = page(group, width=width, scheme=scheme)
    tab.locator("#lag polyline").wait_for(state="attached")  # it was looked at twice
    assert faults_of(tab, f"log-group-{width}-{scheme}") == []


@pytest.mark.box("log.tail")
def test_a_record_is_seen_on_the_page_as_it_comes(log, page) -> None:
    tab = page(f"{log}/topics/orders")
    sent = {"records": [{"value": "seen at once"}]}
    httpx.post(f"{log}/api/topics/orders/records", json=sent).raise_for_status()
    tab.locator("#newest code", has_text="seen at once").wait_for()
