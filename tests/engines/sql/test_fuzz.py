"""Whatever value comes through a door: it is kept and read back as it was, or it is refused."""

import os

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from bastide.base.errors import Refusal
from bastide.base.tx import Duplicate, Once, cursor_of, place_of
from bastide.engines.sql.contract import OnceMismatch, ValueRefused

EXAMPLES = int(os.environ.get("BASTIDE_TEST_ROUNDS", "1")) * 100
FUZZED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

# Surrogates and NUL, too; integers beyond 64 bits.
TEXT = st.text(st.characters(), max_size=60)
NUMBER = st.one_of(
    st.integers(), st.integers(-(2**63) - 2, -(2**63) + 2), st.integers(2**63 - 2, 2**63 + 2)
)


async def told(asked):
    """What it answers, or its refusal. Anything else that comes out fails the test."""
    try:
        return await asked
    except Refusal as refusal:
        return refusal


@pytest.mark.shows("sql.errors")
@FUZZED
@given(text=TEXT, bytes_=st.none() | st.binary(max_size=60), flag=st.none() | st.booleans())
async def test_a_note_comes_back_as_it_was_or_is_refused(sql, bank, text, bytes_, flag):
    wrote = await told(sql.write(bank.note, text=text, bytes=bytes_, flag=flag))
    read = await told(sql.one(bank.noted, text=text))
    if wrote is None:
        assert read == bank.Note(text, bytes_, flag)
    elif isinstance(wrote, Duplicate):
        assert read.text == text, "an earlier example had the same text"
    else:
        assert isinstance(wrote, ValueRefused)
        assert read is None or isinstance(read, ValueRefused)


@pytest.mark.shows("sql.errors")
@FUZZED
@given(id_=NUMBER, owner=TEXT, balance=NUMBER)
async def test_a_row_of_any_numbers_is_kept_or_refused_and_never_half(
    sql, bank, id_, owner, balance
):
    async def body(tx):
        await tx.run(bank.open, id=id_, owner=owner, balance=balance)
        return id_

    before = await told(sql.one(bank.get, id=id_))
    made = await told(sql.transact(body))
    found = await told(sql.one(bank.get, id=id_))
    if made == id_:
        assert found == bank.Account(id_, owner, balance)
    else:
        assert isinstance(made, Duplicate | ValueRefused)
        assert found == before or isinstance(found, ValueRefused)


@pytest.mark.shows("sql.errors")
@FUZZED
@given(ids=st.lists(NUMBER, max_size=5), owners=st.lists(TEXT, max_size=5))
async def test_a_list_of_any_values_finds_or_is_refused(sql, bank, ids, owners):
    for found in (
        await told(sql.fetch(bank.some, ids=ids)),
        await told(sql.fetch(bank.owners, owners=owners)),
    ):
        assert found == [] or isinstance(found, ValueRefused)


@pytest.mark.shows("sql.errors")
@FUZZED
@given(
    cursor=TEXT | st.binary(max_size=30).map(repr) | NUMBER.map(cursor_of) | TEXT.map(repr),
    limit=NUMBER,
    first=st.sampled_from([0, ""]),
)
async def test_any_cursor_and_limit_gives_a_page_or_is_refused(sql, bank, cursor, limit, first):
    statement, place = (
        (bank.named, lambda a: a.owner) if first == "" else (bank.after, lambda a: a.id)
    )
    page = await told(sql.page(statement, place, first=first, cursor=cursor, limit=limit))
    assert isinstance(page, Refusal) or page.items == []


@pytest.mark.shows("sql.errors")
@FUZZED
@given(key=TEXT, fingerprints=st.tuples(st.binary(max_size=40), st.binary(max_size=40)))
async def test_any_key_names_one_request_or_is_refused(sql, bank, key, fingerprints):
    ran = []

    async def body(tx):
        ran.append(await tx.one(bank.count))
        return 7

    first, same, other = [
        await told(sql.transact(body, once=Once(key, fingerprint, int)))
        for fingerprint in (fingerprints[0], *fingerprints)
    ]
    assume(not isinstance(first, OnceMismatch))  # an earlier example had the same key
    assert first == same == 7 or isinstance(first, ValueRefused)
    if first == 7:
        assert other == 7 if len(set(fingerprints)) == 1 else isinstance(other, OnceMismatch)


@pytest.mark.shows("sql.errors")
@given(NUMBER | st.text(max_size=40))
def test_a_cursor_says_where_a_page_ended(place):
    assert place_of(cursor_of(place), tuple[type(place)]) == (place,)
