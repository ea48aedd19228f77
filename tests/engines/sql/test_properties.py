"""Random transfers, refusals and failing commits, against a dict."""

import asyncio
from contextlib import nullcontext
from functools import partial

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bastide.base import faults
from bastide.base.errors import Conflict
from bastide.base.settings import parse_url
from bastide.base.tx import Duplicate
from bastide.engines.sql.backends.sqlite import writer
from bastide.engines.sql.backends.sqlite.backend import open_memory
from bastide.engines.sql.contract import DatabaseAway
from bastide.engines.sql.service import Sql

ACCOUNTS = 4
account = st.integers(1, ACCOUNTS)
transfer = st.tuples(st.just("transfer"), account, account, st.integers(0, 60))
regret = st.tuples(st.just("regret"), account, account, st.integers(0, 60))
opening = st.tuples(st.just("open"), st.integers(1, ACCOUNTS + 3), st.just(0), st.integers(0, 9))
together = st.lists(st.one_of(transfer, regret, opening), min_size=1, max_size=6)
steps = st.lists(st.tuples(together, st.sampled_from(["kept", "kept", "lost"])), max_size=8)


class Regret(Conflict):
    pass


async def act(bank, action, tx):
    verb, one, other, amount = action
    if verb == "open":
        await tx.run(bank.open, id=one, owner="x", balance=amount)
        return
    await tx.run(bank.add, of=one, amount=-amount)  # a CHECK keeps it from falling below zero
    await tx.run(bank.add, of=other, amount=amount)
    if verb == "regret":
        raise Regret("after all")


def modelled(model, action):
    """What the dict becomes, or the error that is expected."""
    verb, one, other, amount = action
    if verb == "open":
        return (model, Duplicate) if one in model else ({**model, one: amount}, None)
    if model[one] < amount:
        return model, Duplicate
    if verb == "regret":
        return model, Regret
    after = dict(model)
    after[one] -= amount
    after[other] += amount
    return after, None


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=steps)
def test_random_transfers_agree_with_a_dict(bank, monkeypatch, steps):
    monkeypatch.setattr(writer, "GROUP_S", 3600)  # all that is asked together is one group
    asyncio.run(play(bank, steps))


async def play(bank, steps):
    async with (
        open_memory(parse_url("memory://")) as backend,
        backend.store("bank", None, bank.migrations) as store,
    ):
        sql = Sql(store, scan_pause_s=1)
        model = dict.fromkeys(range(1, ACCOUNTS + 1), 100)
        for id_ in model:
            await sql.write(bank.open, id=id_, owner="x", balance=100)
        for actions, fate in steps:
            model = await step(sql, bank, model, actions, fate)
            found = {a.id: a.balance for a in await sql.fetch(bank.all)}
            assert found == model
        opened = {a.id: a.balance async for a in sql.scan(bank.all)}
        assert opened == model


async def step(sql, bank, model, actions, fate):
    lost = faults.armed("sql.before_commit", faults.failing(OSError("lost")))
    with lost if fate == "lost" else nullcontext():
        answers = await asyncio.gather(
            *(sql.transact(partial(act, bank, action)) for action in actions),
            return_exceptions=True,
        )
    if fate == "lost":
        assert [type(a) for a in answers] == [DatabaseAway] * len(actions)
        return model
    for action, answer in zip(actions, answers, strict=True):
        model, expected = modelled(model, action)
        assert type(answer) is (expected or type(None))
    return model
