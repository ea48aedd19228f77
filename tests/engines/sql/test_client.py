"""The rows are plain ones: a client that knows nothing of us works on them while we do."""

import asyncio
import json
import sys
from contextlib import asynccontextmanager

import asyncpg
import pytest

from bastide.base.tx import Duplicate, Once

# In a process of its own: two SQLite libraries in one process would undo each other's locks.
SQLITE3 = """
import json, sqlite3, sys
connection = sqlite3.connect(f"file:{sys.argv[1]}?mode=rw", uri=True, timeout=5)
connection.execute("PRAGMA foreign_keys = ON")
for line in sys.stdin:
    try:
        with connection:
            answer = connection.execute(json.loads(line)).fetchall()
    except sqlite3.IntegrityError as error:
        answer = str(error)
    print(json.dumps(answer), flush=True)
"""


class Refused(Exception):
    """By a constraint."""


class Sqlite3:
    """Python's own client, on the file. Each statement is its own transaction."""

    def __init__(self, process):
        self.process = process

    async def run(self, statement):
        self.process.stdin.write(json.dumps(statement).encode() + b"\n")
        answer = json.loads(await self.process.stdout.readline())
        if isinstance(answer, str):
            raise Refused(answer)
        return [tuple(row) for row in answer]


class Asyncpg:
    """A connection of its own to the server, in the client's schema."""

    def __init__(self, connection):
        self.connection = connection

    async def run(self, statement):
        try:
            return [tuple(row) for row in await self.connection.fetch(statement)]
        except asyncpg.IntegrityConstraintViolationError as error:
            raise Refused(str(error)) from error


@asynccontextmanager
async def client_beside(databases, url):
    if databases.scheme == "postgres":
        path = {"search_path": databases.client}
        connection = await asyncpg.connect(url, server_settings=path)
        yield Asyncpg(connection)
        await connection.close()
        return
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SQLITE3, str(databases.directory / f"{databases.client}.db")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    yield Sqlite3(process)
    process.stdin.close()
    assert await process.wait() == 0


@pytest.fixture
def url(request, durable):
    return request.getfixturevalue("postgres_url") if durable.scheme == "postgres" else ""


@pytest.mark.shows("sql.client")
async def test_another_client_reads_and_writes_the_rows_while_the_engine_does(durable, bank, url):
    async with durable.open() as sql, client_beside(durable, url) as other:
        await sql.write(bank.open, id=1, owner="ann", balance=5)
        assert await other.run("SELECT id, owner, balance FROM accounts") == [(1, "ann", 5)]
        await other.run("INSERT INTO accounts VALUES (2, 'bob', 7)")
        await other.run("UPDATE accounts SET balance = balance + 1 WHERE id = 1")
        assert await sql.fetch(bank.all) == [bank.Account(1, "ann", 6), bank.Account(2, "bob", 7)]
        with pytest.raises(Duplicate):
            await sql.write(bank.open, id=2, owner="x", balance=0)


@pytest.mark.shows("sql.client")
async def test_another_client_is_held_to_the_constraints(durable, bank, url):
    async with durable.open() as sql, client_beside(durable, url) as other:
        await sql.write(bank.open, id=1, owner="ann", balance=5)
        for statement in (
            "UPDATE accounts SET balance = -1",
            "INSERT INTO accounts VALUES (1, 'ann again', 0)",
            "INSERT INTO notes (text, account) VALUES ('of nobody', 9)",
        ):
            with pytest.raises(Refused):
                await other.run(statement)
        assert await sql.fetch(bank.all) == [bank.Account(1, "ann", 5)]


@pytest.mark.shows("sql.client")
async def test_bodies_and_another_client_lose_none_of_each_other_s_updates(durable, bank, url):
    async def body(tx):
        await tx.run(bank.add, of=1, amount=1)

    async with durable.open() as sql, client_beside(durable, url) as other:
        await sql.write(bank.open, id=1, owner="ann", balance=0)
        for _ in range(20):
            bodies = asyncio.gather(*(sql.transact(body) for _ in range(5)))
            await other.run("UPDATE accounts SET balance = balance + 100 WHERE id = 1")
            await bodies
        assert await other.run("SELECT balance FROM accounts") == [(2100,)]


@pytest.mark.shows("sql.client")
async def test_another_client_finds_the_replies_that_were_kept(durable, bank, url):
    async def body(tx):
        return 7

    async with durable.open() as sql, client_beside(durable, url) as other:
        for n in range(3):
            await sql.transact(body, once=Once(f"k{n}", b"f", int))
        rows = await other.run("SELECT key, length(reply) FROM once ORDER BY 1")
        assert rows == [(f"k{n}", len(b"7")) for n in range(3)]
