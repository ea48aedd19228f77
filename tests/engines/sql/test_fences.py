"""A deposed holder's transaction changes nothing, on every backend."""

import asyncio

import pytest

from bastide.base.fence import TOKEN_MAX, Deposed, Fence
from tests.engines.sql.kit import open_accounts
from tests.engines.sql.test_contract import once


async def balance(sql, bank):
    return (await sql.one(bank.get, id=1)).balance


@pytest.fixture
async def add(sql, bank):
    await open_accounts(sql, bank, 1, balance=0)

    async def add(token, *, name="lock", amount=1, **options):
        async def body(tx):
            await tx.run(bank.add, of=1, amount=amount)
            return amount

        return await sql.transact(body, fence=Fence(name, token), **options)

    return add


async def test_a_token_may_write_again_and_again_until_a_newer_one_has_written(sql, bank, add):
    await add(33)
    await add(33)
    await add(34)
    with pytest.raises(Deposed) as refused:
        await add(33)
    assert refused.value.newest == 34
    await add(34)
    await add(TOKEN_MAX)
    with pytest.raises(Deposed):
        await add(34)
    assert await balance(sql, bank) == 5


async def test_each_fence_counts_for_itself_and_who_shows_none_is_not_asked(sql, bank, add):
    await add(9, name="one")
    await add(1, name="other")

    async def body(tx):
        await tx.run(bank.add, of=1, amount=1)

    await sql.transact(body)
    assert await balance(sql, bank) == 3


async def test_a_body_that_fails_takes_its_token_with_it(sql, bank, add):
    async def refuse(tx):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await sql.transact(refuse, fence=Fence("lock", 50))
    await add(49)
    assert await balance(sql, bank) == 1


async def test_a_repeated_request_gets_its_first_reply_though_it_is_deposed(sql, bank, add):
    assert await add(1, once=once("k", "add")) == 1
    await add(2)
    assert await add(1, once=once("k", "add")) == 1
    with pytest.raises(Deposed):
        await add(1, once=once("another", "add"))
    assert await balance(sql, bank) == 2


async def test_whoever_races_nothing_of_an_older_token_comes_behind_a_newer_one(sql, bank, add):
    taken = []

    async def write(token):
        try:
            await add(token)
            taken.append(token)
        except Deposed:
            pass

    await asyncio.gather(*(write(token) for token in (3, 1, 2, 5, 4, 5, 1, 3, 6, 2)))
    assert max(taken) == 6
    assert await balance(sql, bank) == len(taken)
    with pytest.raises(Deposed):
        await add(5)
