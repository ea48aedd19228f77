"""What the town shows of it: calls, errors, times by owner; health; and no secret."""

import logging

import pytest

from bastide.engines.pubsub.contract import ChannelRefused, PubSub, PubSubAway
from bastide.testing.town import raised
from tests.base.owner import list_owner
from tests.base.told import figures_of, told_by
from tests.engines.pubsub.kit import hear, publish
from tests.parts.redis.kit import running

WORD = "open-sesame-7f3a"


@pytest.fixture
def listed(monkeypatch):
    list_owner(monkeypatch, "pubsub", PubSub)


@pytest.mark.shows("pubsub.watch")
async def test_calls_errors_and_times_are_counted_for_their_owner(listed):
    async with raised() as town:
        pubsub = town.served("owner").engine
        async with pubsub.subscribe("news") as messages, pubsub.subscribe("slow"):
            await publish(pubsub, "news", [b"1", b"2"])
            await publish(pubsub, "slow", [b"1"] * 1001)
            assert await hear(messages, 2) == [b"1", b"2"]
            with pytest.raises(ChannelRefused):
                await pubsub.publish("", b"")
            with pytest.raises(ChannelRefused):
                await pubsub.subscribe("").__aenter__()
            found = await figures_of(town)
        call = 'client="owner",system="pubsub",verb="publish"'
        assert found[f"bastide_calls_total{{{call}}}"] == 1004
        assert found[f"bastide_call_seconds_count{{{call}}}"] == 1004
        error = 'client="owner",outcome="ChannelRefused",system="pubsub",verb="publish"'
        assert found[f"bastide_calls_failed_total{{{error}}}"] == 1
        assert found['bastide_pubsub_deliveries_total{client="owner"}'] == 1002
        assert found['bastide_pubsub_subscribers{client="owner"}'] == 2
        for outcome in ("ChannelRefused", "SubscriberCut"):
            labels = f'client="owner",outcome="{outcome}"'
            assert found[f"bastide_pubsub_subscriptions_failed_total{{{labels}}}"] == 1


@pytest.mark.shows("pubsub.watch")
@pytest.mark.engine("redis")
async def test_health_tells_of_an_outage_and_nothing_tells_the_password(listed, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    with running(tmp_path / "redis", "--requirepass", WORD) as redis:
        url = redis.url.replace("redis://", f"redis://default:{WORD}@")
        async with raised(environ={"BASTIDE_PUBSUB_URL": url}) as town:
            client = await town.client()
            pubsub = town.served("owner").engine
            assert (await client.get("/healthz")).json()["systems"]["pubsub"]["ok"]
            said = [await told(town)]
            async with pubsub.subscribe("news") as messages:
                redis.stop()
                with pytest.raises(PubSubAway) as lost:
                    await anext(messages)
            with pytest.raises(PubSubAway) as away:
                await pubsub.publish("news", b"")
            health = await client.get("/healthz")
            assert health.status_code == 503
            assert "is away" in health.json()["systems"]["pubsub"]["error"]
            labels = 'client="owner",outcome="PubSubAway"'
            found = await figures_of(town)
            assert found[f"bastide_pubsub_subscriptions_failed_total{{{labels}}}"] == 1
            said += [await told(town), caplog.text, str(lost.value), str(away.value)]
    assert "redis://127.0.0.1" in said[0]
    assert WORD not in "".join(said)


@pytest.mark.engine("redis")
async def test_a_wrong_password_is_told_without_it(listed, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    with running(tmp_path / "redis", "--requirepass", "another") as redis:
        url = redis.url.replace("redis://", f"redis://default:{WORD}@") + "?connect_s=0.2"
        async with raised(environ={"BASTIDE_PUBSUB_URL": url}) as town:
            client = await town.client()
            health = await client.get("/healthz")
            assert "WRONGPASS" in health.json()["systems"]["pubsub"]["error"]
            assert WORD not in await told(town) + caplog.text


async def told(town):
    """All that doors and console say."""
    return "".join((await told_by(town)).values())
