"""What every backend keeps: the promises of `engines/sql/contract.py`."""

import asyncio
from contextvars import ContextVar
from functools import partial
from hashlib import sha256

import pytest

from bastide.base.errors import NotFound
from bastide.base.rt import runtime
from bastide.base.rt.clock import ManualClock
from bastide.base.tx import Duplicate, Once
from bastide.engines.sql import service
from bastide.engines.sql.contract import (
    WAITING_MAX,
    BodyMiswritten,
    Contended,
    OnceMismatch,
    ValueRefused,
)
from tests.engines.sql.kit import open_accounts

HOUR_S = 3600


def once(key, request, reply=int):
    return Once(key, sha256(request.encode()).digest(), reply)


async def test_a_body_answers_with_what_it_returns_and_its_rows_are_read_afterwards(sql, bank):
    async def body(tx):
        return await tx.run(bank.open, id=1, owner="ann", balance=5)

    assert await sql.transact(body) == 1
    assert await sql.one(bank.get, id=1) == bank.Account(1, "ann", 5)
    assert await sql.one(bank.get, id=2) is None


async def test_a_body_reads_what_it_wrote_before_anybody_else_does(sql, bank):
    async def body(tx):
        await tx.run(bank.open, id=1, owner="ann", balance=5)
        return await tx.one(bank.get, id=1), await tx.fetch(bank.all)

    assert await sql.transact(body) == (bank.Account(1, "ann", 5), [bank.Account(1, "ann", 5)])


async def test_bodies_that_wait_together_see_what_each_other_did(sql, bank):
    await open_accounts(sql, bank, 1, balance=0)

    async def body(tx):
        await tx.run(bank.add, of=1, amount=1)
        return (await tx.one(bank.get, id=1)).balance

    seen = await asyncio.gather(*(sql.transact(body) for _ in range(30)))
    assert sorted(seen) == list(range(1, 31))


async def test_a_read_that_leads_to_a_write_is_never_stale(sql, bank):
    """Read, then write what was read plus one: lost updates would show."""
    await open_accounts(sql, bank, 1, balance=0)

    async def body(tx):
        before = (await tx.one(bank.get, id=1)).balance
        await tx.run(bank.close, of=1)
        await tx.run(bank.open, id=1, owner="ann", balance=before + 1)

    await asyncio.gather(*(sql.transact(body) for _ in range(20)))
    assert (await sql.one(bank.get, id=1)).balance == 20


@pytest.mark.box("sql.refusal-alone")
async def test_a_refusal_rolls_back_its_own_body_and_touches_no_neighbour(sql, bank):
    async def good(n):
        async def body(tx):
            await tx.run(bank.open, id=n, owner="ann", balance=n)

        await sql.transact(body)

    async def bad(n):
        async def body(tx):
            await tx.run(bank.open, id=1000 + n, owner="bob", balance=1)
            await tx.run(bank.note, text=f"n{n}", bytes=None, flag=None)
            raise NotFound("no such account")

        with pytest.raises(NotFound, match="no such account"):
            await sql.transact(body)

    await asyncio.gather(*(good(n) if n % 3 else bad(n) for n in range(60)))
    assert [a.id for a in await sql.fetch(bank.all)] == [n for n in range(60) if n % 3]
    assert await sql.one(bank.noted, text="n0") is None


async def test_a_constraint_makes_a_duplicate_and_the_neighbours_stay(sql, bank):
    async def body(tx):
        await tx.run(bank.open, id=1, owner="ann", balance=1)

    async def other(tx):
        await tx.run(bank.open, id=2, owner="bob", balance=1)

    results = await asyncio.gather(
        sql.transact(body), sql.transact(body), sql.transact(other), return_exceptions=True
    )
    assert sorted(type(r).__name__ for r in results) == ["Duplicate", "NoneType", "NoneType"]
    assert await sql.one(bank.count) == 2


@pytest.mark.parametrize("verb", ["write", "transact"])
@pytest.mark.parametrize(
    ("statement", "values"),
    [
        ("open", {"id": 9, "owner": "x", "balance": -1}),  # CHECK
        ("open", {"id": 9, "owner": None, "balance": 1}),  # NOT NULL
        ("note_of", {"text": "x", "account": 404}),  # REFERENCES
    ],
)
async def test_every_kind_of_constraint_is_a_conflict(sql, bank, verb, statement, values):
    async def body(tx):
        await tx.run(getattr(bank, statement), **values)

    with pytest.raises(Duplicate) as caught:
        await (
            sql.transact(body)
            if verb == "transact"
            else sql.write(getattr(bank, statement), **values)
        )
    assert "Failing row" not in str(caught.value)


async def test_values_come_back_as_they_went_in(sql, bank):
    await sql.write(bank.note, text="żółw 🐢 'x'", bytes=b"\x00\xff", flag=True)
    await sql.write(bank.note, text="none", bytes=None, flag=False)
    assert await sql.one(bank.noted, text="żółw 🐢 'x'") == bank.Note(
        "żółw 🐢 'x'", b"\x00\xff", True
    )
    assert await sql.one(bank.noted, text="none") == bank.Note("none", None, False)


async def test_a_statement_that_returns_gives_its_row(sql, bank):
    async def body(tx):
        return await tx.one(bank.placed, text="a"), await tx.one(bank.placed, text="b")

    first, second = await sql.transact(body)
    assert first < second


async def test_among_takes_a_list_of_any_length(sql, bank):
    await open_accounts(sql, bank, 5)
    assert [a.id for a in await sql.fetch(bank.some, ids=[2, 4, 99])] == [2, 4]
    assert await sql.fetch(bank.some, ids=[]) == []
    assert [a.id for a in await sql.fetch(bank.owners, owners=["o0003"])] == [3]


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
async def test_an_integer_over_64_bits_is_refused(sql, bank, value):
    async def body(tx):
        await tx.run(bank.open, id=value, owner="x", balance=1)

    with pytest.raises(ValueRefused):
        await sql.write(bank.open, id=value, owner="x", balance=1)
    with pytest.raises(ValueRefused):
        await sql.transact(body)
    with pytest.raises(ValueRefused):
        await sql.one(bank.get, id=value)


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63)])
async def test_an_integer_of_64_bits_is_kept(sql, bank, value):
    await sql.write(bank.open, id=value, owner="x", balance=1)
    assert (await sql.one(bank.get, id=value)).id == value


async def test_a_text_that_is_no_unicode_is_refused(sql, bank):
    with pytest.raises(ValueRefused):
        await sql.write(bank.note, text="\ud800", bytes=None, flag=None)


# what a body may not do


async def test_a_second_transaction_inside_a_body_is_refused_and_has_no_effect(sql, bank):
    async def inner(tx):
        await tx.run(bank.open, id=2, owner="inner", balance=1)

    async def outer(tx):
        await tx.run(bank.open, id=1, owner="outer", balance=1)
        await sql.transact(inner)

    with pytest.raises(BodyMiswritten, match="second transaction"):
        await sql.transact(outer)
    assert await sql.fetch(bank.all) == []


@pytest.mark.parametrize("verb", ["one", "fetch", "write", "page", "scan"])
async def test_no_verb_of_the_database_is_taken_inside_a_body(sql, bank, verb):
    async def body(tx):
        if verb == "write":
            await sql.write(bank.open, id=1, owner="x", balance=1)
        elif verb == "page":
            await sql.page(bank.after, lambda a: a.id, first=0)
        elif verb == "scan":
            async for _ in sql.scan(bank.all):
                pass
        else:
            await getattr(sql, verb)(bank.all)

    with pytest.raises(BodyMiswritten):
        await sql.transact(body)
    assert await sql.fetch(bank.all) == []


async def test_a_transaction_is_allowed_again_after_a_refused_one(sql, bank):
    async def outer(tx):
        await sql.transact(outer)

    with pytest.raises(BodyMiswritten):
        await sql.transact(outer)
    await sql.write(bank.open, id=1, owner="x", balance=1)


async def test_a_tx_that_is_kept_does_nothing_more(sql, bank):
    kept = []

    async def body(tx):
        kept.append(tx)

    await sql.transact(body)
    with pytest.raises(BodyMiswritten, match="ended"):
        await kept[0].run(bank.open, id=1, owner="x", balance=1)
    with pytest.raises(BodyMiswritten, match="ended"):
        await kept[0].one(bank.get, id=1)
    assert await sql.fetch(bank.all) == []


async def test_a_body_that_goes_on_after_a_duplicate_is_refused_whole(sql, bank):
    await sql.write(bank.open, id=1, owner="x", balance=1)

    async def swallows(tx):
        await tx.run(bank.open, id=2, owner="y", balance=1)
        try:
            await tx.run(bank.open, id=1, owner="x", balance=1)
        except Duplicate:
            return

    async def goes_on(tx):
        try:
            await tx.run(bank.open, id=1, owner="x", balance=1)
        except Duplicate:
            await tx.run(bank.open, id=2, owner="y", balance=1)

    for body in (swallows, goes_on):
        with pytest.raises(BodyMiswritten, match="error"):
            await sql.transact(body)
    assert await sql.one(bank.count) == 1


async def test_a_statement_that_writes_is_refused_by_the_verbs_that_read(sql, bank):
    for read in (sql.one, sql.fetch, lambda *a, **v: anext(sql.scan(*a, **v))):
        with pytest.raises(BodyMiswritten, match="writes"):
            await read(bank.placed, text="x")


async def test_an_error_of_the_body_comes_through_as_it_is(sql):
    class Odd(Exception):
        pass

    async def body(tx):
        raise Odd("mine")

    with pytest.raises(Odd, match="mine"):
        await sql.transact(body)


async def test_a_body_runs_in_the_context_of_its_caller(sql):
    who = ContextVar("who", default="nobody")

    async def body(tx):
        return who.get()

    async def ask(name):
        who.set(name)
        return await sql.transact(body)

    assert await asyncio.gather(ask("ann"), ask("bob")) == ["ann", "bob"]


# single writes


async def test_writes_that_wait_together_are_each_answered_for_themselves(sql, bank):
    answers = await asyncio.gather(
        *(sql.write(bank.open, id=n % 40, owner="x", balance=1) for n in range(60)),
        sql.write(bank.open, id=100, owner=None, balance=1),
        return_exceptions=True,
    )
    refused = [a for a in answers if a is not None]
    assert len(refused) == 21
    assert all(isinstance(a, Duplicate) for a in refused)
    assert await sql.one(bank.count) == 40


# keys of requests that may be repeated


async def open_one(tx, bank, counter):
    counter.append(1)
    await tx.run(bank.add, of=1, amount=1)
    return (await tx.one(bank.get, id=1)).balance


@pytest.mark.shows("sql.repeat")
@pytest.mark.box("sql.once")
async def test_a_repeated_request_has_one_effect_and_the_first_reply(sql, bank):
    await open_accounts(sql, bank, 1, balance=0)
    ran = []

    async def body(tx):
        return await open_one(tx, bank, ran)

    replies = [await sql.transact(body, once=once("k", "add 1")) for _ in range(3)]
    assert replies == [1, 1, 1]
    assert (await sql.one(bank.get, id=1)).balance == 1
    assert await sql.transact(body, once=once("other", "add 1")) == 2


@pytest.mark.shows("sql.repeat")
@pytest.mark.box("sql.once")
async def test_a_request_that_races_itself_has_one_effect_and_one_reply(sql, bank):
    await open_accounts(sql, bank, 1, balance=0)

    async def body(tx):
        return await open_one(tx, bank, [])

    asked = (sql.transact(body, once=once("k", "add 1")) for _ in range(20))
    assert set(await asyncio.gather(*asked)) == {1}
    assert (await sql.one(bank.get, id=1)).balance == 1


@pytest.mark.box("sql.once")
async def test_a_request_that_creates_and_races_itself_has_one_effect_and_one_reply(sql, bank):
    """The second must not run into the first one's row: that would look like another's."""

    async def body(tx):
        await tx.run(bank.note, text="taken once", bytes=None, flag=None)
        return 7

    for n in range(5):
        asked = (sql.transact(body, once=once("k", "create")) for _ in range(n + 2))
        assert set(await asyncio.gather(*asked)) == {7}
    with pytest.raises(Duplicate):
        await sql.transact(body, once=once("another", "create"))


async def test_a_key_that_comes_with_another_request_is_a_mismatch(sql, bank):
    await open_accounts(sql, bank, 1, balance=0)

    async def body(tx):
        return await open_one(tx, bank, [])

    await sql.transact(body, once=once("k", "add 1"))
    with pytest.raises(OnceMismatch):
        await sql.transact(body, once=once("k", "add 2"))
    assert (await sql.one(bank.get, id=1)).balance == 1


async def test_a_refused_request_leaves_its_key_free(sql, bank):
    async def refuse(tx):
        raise NotFound("not yet")

    async def accept(tx):
        return 7

    with pytest.raises(NotFound):
        await sql.transact(refuse, once=once("k", "x"))
    assert await sql.transact(accept, once=once("k", "x")) == 7


async def test_a_reply_is_kept_as_its_own_type(sql, bank):
    async def body(tx):
        return bank.Account(1, "ann", 3)

    first = await sql.transact(body, once=once("k", "x", bank.Account))
    again = await sql.transact(body, once=once("k", "x", bank.Account))
    assert first == again == bank.Account(1, "ann", 3)


async def test_a_sweep_forgets_old_replies_and_keeps_young_ones(sql, bank, monkeypatch):
    monkeypatch.setattr(service, "SWEEP_ROWS_MAX", 3)

    async def body(tx):
        return 1

    for n in range(7):
        await sql.transact(body, once=once(f"old{n}", "x"))
    assert await sql.sweep() == 0
    assert await sql.sweep(kept_ms=-1_000) == 7  # as seen in a second
    await sql.transact(body, once=once("young", "x"))
    assert await sql.sweep(kept_ms=60_000) == 0
    assert await sql.fetch(bank.once) == ["young"]


async def test_a_step_of_the_wall_clock_forgets_no_reply(databases):
    clock = on_manual_clock()
    async with databases.open() as sql:
        for step_s in (0, -25 * HOUR_S, 50 * HOUR_S, -25 * HOUR_S):
            clock.step(step_s)
            await sql.transact(seven, once=once(f"at {step_s}", "x"))
            assert await sql.sweep() == 0
        clock.advance(24 * HOUR_S - 1)
        assert await sql.sweep() == 0
        clock.advance(60 * HOUR_S)  # the stamp that lay in the future is past, too
        assert await sql.sweep() == 3


async def test_a_step_of_the_wall_clock_over_a_restart_forgets_no_reply(durable, bank):
    clock = on_manual_clock()
    async with durable.open() as sql:
        await sql.transact(seven, once=once("k", "x"))
    clock.step(25 * HOUR_S)
    async with durable.open() as sql:
        clock.advance(24 * HOUR_S - 1)
        assert await sql.sweep() == 0
        clock.advance(1.001)
        assert await sql.sweep() == 1


def on_manual_clock():
    """Both hands of the clock, for what this test opens."""
    clock = ManualClock()
    runtime.run_on(runtime.Runtime(clock=clock))
    return clock


async def seven(tx):
    return 7


# reads


async def test_the_state_is_seen_that_was_committed_before(sql, bank):
    """A read that begins after a write has returned sees it, from every task."""

    async def writer():
        for n in range(50):
            await sql.write(bank.open, id=n, owner="x", balance=1)
            assert await sql.one(bank.get, id=n) is not None

    await asyncio.gather(writer(), *(sql.one(bank.count) for _ in range(20)))


# limits, life


@pytest.mark.limit("sql.WAITING_MAX")
async def test_as_many_bodies_wait_as_are_allowed_and_one_more_is_refused(sql, bank, monkeypatch):
    assert WAITING_MAX == 10_000
    monkeypatch.setattr(service, "WAITING_MAX", 20)

    async def body(tx):
        return 1

    asked = [asyncio.ensure_future(sql.transact(body)) for _ in range(21)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [a for a in answers if a != 1] == [answers[20]]
    assert isinstance(answers[20], Contended)
    assert await sql.transact(body) == 1


async def test_a_caller_that_is_cancelled_breaks_nothing_for_the_others(sql, bank):
    async def body(n, tx):
        await tx.run(bank.open, id=n, owner="x", balance=1)
        return n

    tasks = [asyncio.create_task(sql.transact(partial(body, n))) for n in range(60)]
    tasks += [
        asyncio.create_task(sql.write(bank.open, id=n, owner="x", balance=1)) for n in range(60, 90)
    ]
    await asyncio.sleep(0)
    for task in tasks[::3]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    kept = {a.id for a in await sql.fetch(bank.all)}
    answered = {n for n, a in enumerate(answers) if not isinstance(a, BaseException)}
    assert answered == {n for n in range(90) if n % 3}
    assert answered <= kept


async def test_an_answered_row_is_there_after_reopening(durable, bank):
    async with durable.open() as sql:
        await open_accounts(sql, bank, 3)
    async with durable.open() as sql:
        assert await sql.one(bank.count) == 3


async def test_closing_answers_who_waits(databases, bank):
    async with databases.open() as sql:
        asked = [
            asyncio.create_task(sql.write(bank.open, id=n, owner="x", balance=1))
            for n in range(100)
        ]
        await asyncio.sleep(0)
    assert await asyncio.gather(*asked) == [None] * 100


async def test_health_is_told(sql):
    await sql.health()


# schemas


async def test_two_clients_of_one_backend_see_nothing_of_each_other(databases, bank):
    async with databases.backend() as backend:
        other = f"{databases.client}_b"
        async with databases.on(backend) as one, databases.on(backend, client=other) as two:
            await one.write(bank.open, id=1, owner="ann", balance=1)
            assert await two.one(bank.count) == 0
            assert await one.one(bank.count) == 1
