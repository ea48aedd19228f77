"""Cursors, and statements compiled once for each dialect."""

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Boolean, Column, MetaData, String, Table, bindparam, select
from sqlalchemy.dialects.postgresql.asyncpg import dialect as postgresql
from sqlalchemy.dialects.sqlite.pysqlite import dialect as sqlite

from bastide.base.errors import Conflict, Invalid
from bastide.base.tx import Duplicate, Statement, among, changes, cursor_of, place_of

LINKS = Table(
    "links",
    MetaData(),
    Column("id", BigInteger, primary_key=True),
    Column("code", String),
    Column("open", Boolean),
)
READ = select(LINKS.c.code, LINKS.c.open).where(LINKS.c.code == bindparam("code", type_=String))


class Link(msgspec.Struct, frozen=True):
    code: str
    open: bool


@given(st.tuples(st.integers(-(2**63), 2**63 - 1), st.text()))
def test_a_cursor_gives_back_its_place(place: tuple[int, str]) -> None:
    cursor = cursor_of(*place)
    assert place_of(cursor, tuple[int, str]) == place
    assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"), (
        "it goes into an address as it is"
    )


@given(st.text(max_size=60))
def test_a_cursor_that_we_did_not_give_is_refused_or_is_a_place(cursor: str) -> None:
    try:
        place = place_of(cursor, tuple[int])
    except Invalid:
        return
    assert isinstance(place[0], int)


@pytest.mark.parametrize("place", [(), ("a",), (1, 2), (1.5,), (None,)])
def test_a_cursor_of_another_list_is_refused(place: tuple[object, ...]) -> None:
    cursor = base64.urlsafe_b64encode(msgspec.json.encode(place)).decode()
    with pytest.raises(Invalid):
        place_of(cursor, tuple[int])


def test_a_statement_knows_whether_it_writes() -> None:
    assert not Statement(READ, Link).writes
    assert changes(LINKS.insert()).writes
    assert changes(LINKS.update().values(code="a")).writes
    assert changes(LINKS.delete()).writes


def test_a_statement_is_compiled_once_for_each_dialect_and_schema() -> None:
    statement = Statement(READ, Link)
    first = statement.compiled(sqlite(), None)
    assert statement.compiled(sqlite(), None) is first
    assert statement.compiled(postgresql(), "shortener") is not first
    assert statement.compiled(postgresql(), "shortener") is statement.compiled(
        postgresql(), "shortener"
    )


def test_the_text_names_the_schema_and_counts_or_names_its_values() -> None:
    statement = Statement(READ, Link)
    there = statement.compiled(postgresql(), "shortener")
    assert "shortener.links" in there.text
    assert "$1" in there.text
    assert list(there.order) == ["code"]
    here = statement.compiled(sqlite(), None)
    assert "shortener" not in here.text
    assert "?" in here.text


def test_what_the_dialect_keeps_in_another_type_is_converted_and_nothing_else() -> None:
    here = Statement(READ, Link).compiled(sqlite(), None)
    [(place, convert)] = here.results
    assert place == 1
    assert convert(1) is True
    assert here.binds == {}
    assert Statement(READ, Link).compiled(postgresql(), None).results == []


def test_values_written_into_the_statement_are_kept_beside_the_text() -> None:
    update = changes(LINKS.update().where(LINKS.c.id == bindparam("key")).values(code="gone"))
    compiled = update.compiled(sqlite(), None)
    assert compiled.constants["code"] == "gone"
    assert "key" not in compiled.constants
    assert set(compiled.order) == {"code", "key"}


@pytest.mark.parametrize(
    ("column", "array"), [(LINKS.c.code, "TEXT[]"), (LINKS.c.id, "BIGINT[]")], ids=str
)
def test_among_has_one_text_for_every_length(column: Column, array: str) -> None:
    statement = Statement(select(LINKS.c.code).where(among(column, "wanted")), str)
    here = statement.compiled(sqlite(), None)
    assert f"links.{column.name} IN (SELECT value FROM json_each(?))" in here.text
    assert here.binds["wanted"](["a", "b"]) == '["a","b"]'
    there = statement.compiled(postgresql(), None)
    assert "= ANY (CAST($1" in there.text
    assert f"AS {array})" in there.text
    assert there.binds.get("wanted", list)(("a",)) == ["a"]


def test_a_duplicate_is_a_conflict() -> None:
    assert issubclass(Duplicate, Conflict)
