"""What is PostgreSQL's alone: lost races, lost connections, a server that is away."""

import asyncio
import contextlib
import os
import time
from functools import partial
from urllib.parse import urlsplit

import asyncpg
import pytest
from sqlalchemy import select, text

from bastide.base.errors import Invalid
from bastide.base.settings import parse_url
from bastide.base.tx import Duplicate, Once, Statement, changes
from bastide.engines.sql.backends.postgres import driver, retry, writes
from bastide.engines.sql.backends.postgres.backend import open_postgres
from bastide.engines.sql.contract import (
    ATTEMPTS_MAX,
    BodyCut,
    BodyMiswritten,
    Contended,
    DatabaseAway,
    ValueRefused,
)
from bastide.engines.sql.service import Sql

pytestmark = pytest.mark.engine("postgres")


async def opened(bank, n, tx):
    await tx.run(bank.open, id=n, owner="x", balance=n)
    return n


async def raised(sql, bank, tx):
    balance = (await tx.one(bank.get, id=1)).balance
    await tx.run(bank.add, of=1, amount=1)
    return balance + 1


@pytest.fixture
async def beside(postgres_url):
    """A connection of somebody else's."""
    connection = await asyncpg.connect(postgres_url)
    yield connection
    await connection.close()


# races


@pytest.mark.limit("sql.ATTEMPTS_MAX")
async def test_a_body_that_always_loses_is_contended(postgres, bank, beside, monkeypatch):
    monkeypatch.setattr(retry, "BACKOFF_MAX_S", 0.002)
    attempts = 0

    async def body(tx):
        nonlocal attempts
        attempts += 1
        await tx.one(bank.get, id=1)
        await beside.execute(f'UPDATE "{postgres.client}".accounts SET balance = balance + 1')
        await tx.run(bank.add, of=1, amount=1)

    async with postgres.open() as sql:
        await sql.write(bank.open, id=1, owner="x", balance=0)
        with pytest.raises(Contended):
            await sql.transact(body)
        assert attempts == ATTEMPTS_MAX
        assert (await sql.one(bank.get, id=1)).balance == ATTEMPTS_MAX


async def test_write_skew_is_not_possible(postgres, bank):
    """Each reads both and lowers one: under snapshot isolation alone the sum would fall below."""

    async def body(of, tx):
        both = [(await tx.one(bank.get, id=n)).balance for n in (1, 2)]
        if sum(both) >= 100:
            await tx.run(bank.add, of=of, amount=-50)

    async with postgres.open() as sql:
        for n in (1, 2):
            await sql.write(bank.open, id=n, owner="x", balance=50)
        await asyncio.gather(*(sql.transact(partial(body, n)) for n in (1, 2, 1, 2)))
        assert sum(a.balance for a in await sql.fetch(bank.all)) == 50


async def test_two_who_wait_for_each_other_both_end(postgres, bank):
    both_hold_one, fresh = asyncio.Barrier(2), {1, 2}

    async def body(first, second, tx):
        await tx.run(bank.add, of=first, amount=1)
        if first in fresh:  # the first time only: who loses comes again alone
            fresh.discard(first)
            await both_hold_one.wait()
        await tx.run(bank.add, of=second, amount=1)

    async with postgres.open() as sql:
        for n in (1, 2):
            await sql.write(bank.open, id=n, owner="x", balance=0)
        await asyncio.gather(*(sql.transact(partial(body, *ends)) for ends in ((1, 2), (2, 1))))
        assert [a.balance for a in await sql.fetch(bank.all)] == [2, 2]


@pytest.mark.box("sql.once")
async def test_a_request_that_races_itself_in_two_processes_has_one_effect(postgres, bank):
    asked = Once("k", b"f", int)
    async with postgres.open() as one, postgres.open() as two:
        await one.write(bank.open, id=1, owner="x", balance=0)
        replies = await asyncio.gather(
            *(sql.transact(partial(raised, sql, bank), once=asked) for sql in (one, two) * 10)
        )
        assert set(replies) == {1}
        assert (await one.one(bank.get, id=1)).balance == 1


async def test_a_body_survives_that_a_newer_process_moves_the_schema(postgres, bank, beside):
    async def body(tx):
        return await tx.fetch(bank.all)

    async with postgres.open(pool_max=1) as sql:
        await sql.write(bank.open, id=1, owner="x", balance=7)
        await sql.transact(body)
        alter = "ALTER COLUMN balance TYPE NUMERIC"
        await beside.execute(f'ALTER TABLE "{postgres.client}".accounts {alter}')
        assert [a.balance for a in await sql.transact(body)] == [7]


# time


@pytest.mark.box("sql.body-cut")
async def test_a_forgotten_body_is_cut_and_gives_its_locks_back(postgres, bank):
    async def body(tx):
        await tx.run(bank.add, of=1, amount=1)
        await asyncio.Event().wait()

    async with postgres.open(body_s=0.1) as sql:
        await sql.write(bank.open, id=1, owner="x", balance=0)
        with pytest.raises(BodyCut):
            await sql.transact(body)
        await sql.write(bank.add, of=1, amount=5)
        assert (await sql.one(bank.get, id=1)).balance == 5


async def test_a_body_that_awaits_two_verbs_at_once_is_miswritten(postgres, bank):
    async def body(tx):
        await asyncio.gather(tx.one(bank.count), tx.one(bank.count))

    async with postgres.open() as sql:
        with pytest.raises(BodyMiswritten, match="at once"):
            await sql.transact(body)
        await sql.health()


async def test_a_time_out_of_the_bodys_own_is_not_taken_for_ours(postgres):
    async def body(tx):
        raise TimeoutError("mine")

    async with postgres.open() as sql:
        with pytest.raises(TimeoutError, match="mine"):
            await sql.transact(body)


async def test_a_statement_that_takes_too_long_is_cut(postgres):
    sleep = Statement(select(text("pg_sleep(5)")), lambda _: None)

    async def body(tx):
        await tx.one(sleep)

    async with postgres.open(statement_s=0.1) as sql:
        for asked in (sql.one(sleep), sql.fetch(sleep), sql.transact(body)):
            with pytest.raises(BodyCut):
                await asked
        await sql.health()


async def test_one_who_finds_all_connections_in_use_is_contended(postgres):
    entered, leave = asyncio.Event(), asyncio.Event()

    async def body(tx):
        entered.set()
        await leave.wait()

    async with postgres.open(pool_max=1, connect_s=0.2) as sql:
        task = asyncio.create_task(sql.transact(body))
        await entered.wait()
        with pytest.raises(Contended, match="1 connections"):
            await sql.health()
        leave.set()
        await task
        await sql.health()


# groups of writes


@pytest.mark.parametrize(("waiting", "transactions"), [(0, 1), (1, 2)])
async def test_writes_share_a_transaction_up_to_a_maximum(postgres, bank, waiting, transactions):
    count = writes.GROUP_MAX + waiting
    async with postgres.open() as sql:
        await asyncio.gather(
            *(sql.write(bank.open, id=n, owner="x", balance=1) for n in range(count))
        )
        table = f'"{postgres.client}".accounts'
        by = Statement(text(f"SELECT count(DISTINCT xmin::text) FROM {table}"), int)
        assert await sql.one(by) == transactions


async def test_a_refused_value_in_a_group_touches_no_neighbour(postgres, bank):
    async with postgres.open() as sql:
        answers = await asyncio.gather(
            *(
                sql.write(
                    bank.note, text=f"n{n}\0" if n % 7 == 3 else f"n{n}", bytes=None, flag=None
                )
                for n in range(40)
            ),
            *(sql.write(bank.note, text=f"n{n}", bytes=None, flag=None) for n in range(3)),
            return_exceptions=True,
        )
        kinds = [type(a) for a in answers]
        assert [n for n in range(40) if kinds[n] is ValueRefused] == [3, 10, 17, 24, 31, 38]
        assert kinds[40:] == [Duplicate] * 3
        assert kinds.count(type(None)) == 34


async def test_a_group_whose_task_is_cancelled_leaves_no_queue_without_a_server(postgres, bank):
    async with postgres.open() as sql:
        lost = asyncio.create_task(sql.write(bank.open, id=1, owner="x", balance=1))
        for _ in range(3):
            await asyncio.sleep(0)  # until it has begun
        serving = serving_writes()
        serving[0].cancel()
        await asyncio.wait(serving)
        async with asyncio.timeout(5):
            await sql.write(bank.open, id=2, owner="x", balance=1)
        lost.cancel()
        assert (await sql.one(bank.get, id=2)).balance == 1


def serving_writes():
    tasks = asyncio.all_tasks()
    return [t for t in tasks if t.get_coro().__qualname__ == "Writes._serve"]


async def test_a_write_inside_a_transaction_that_was_left_open_is_not_acknowledged(postgres, bank):
    async with postgres.open(pool_max=1) as sql:
        with pytest.raises(DatabaseAway) as caught:
            await sql.write(changes(text("BEGIN")))
        assert caught.value.outcome == "unknown"
        await sql.write(bank.open, id=1, owner="x", balance=1)
        assert await sql.one(bank.count) == 1


# a server that is away


class Wire:
    """A relay before the server, that can fall silent, hold back a BEGIN or be cut at a commit."""

    def __init__(self, url):
        self.parts = urlsplit(url)
        self.silent = asyncio.Event()
        self.cut_at = None  # None, "before" or "after" the server has the COMMIT
        self.begins = asyncio.Event()
        self.begins.set()
        self.writers = set()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        login = self.parts.netloc.rpartition("@")[0]
        self.url = f"postgres://{login}@127.0.0.1:{port}{self.parts.path}"
        return self

    async def __aexit__(self, *_):
        self.server.close()
        self.cut()
        await self.server.wait_closed()

    def cut(self):
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()

    async def serve(self, reader, writer):
        there, back = await asyncio.open_connection(self.parts.hostname, self.parts.port)
        self.writers |= {writer, back}
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(self.up(reader, back), self.down(there, writer))
        self.writers -= {writer, back}
        for end in (writer, back):
            end.transport.abort()

    async def up(self, reader, back):
        while data := await reader.read(65536):
            at_commit = b"COMMIT\0" in data and self.cut_at
            if at_commit == "before":
                raise ConnectionError
            if b"BEGIN\0" in data:
                await self.begins.wait()
            if not self.silent.is_set():
                back.write(data)
        raise ConnectionError

    async def down(self, there, writer):
        while data := await there.read(65536):
            if self.cut_at == "after" and b"COMMIT\0" in data:
                raise ConnectionError
            if not self.silent.is_set():
                writer.write(data)
        raise ConnectionError


@contextlib.asynccontextmanager
async def through(wire, postgres, **options):
    query = "&".join(f"{name}={value}" for name, value in options.items())
    async with (
        open_postgres(parse_url(f"{wire.url}?{query}")) as backend,
        postgres.on(backend) as sql,
    ):
        yield sql


@pytest.mark.parametrize(("at", "kept"), [("before", 0), ("after", 1)])
async def test_a_commit_whose_answer_is_lost_is_unknown(postgres, postgres_url, bank, at, kept):
    async with Wire(postgres_url) as wire, through(wire, postgres) as sql:
        wire.cut_at = at
        with pytest.raises(DatabaseAway) as caught:
            await sql.transact(partial(opened, bank, 1))
        assert caught.value.outcome == "unknown"
        wire.cut_at = None
        assert await sql.one(bank.count) == kept


@pytest.mark.box("sql.body-cut")
async def test_a_begin_that_comes_late_takes_no_write_with_it(postgres, postgres_url, bank):
    """The server stalls for longer than `body_s`, and then does what it was told."""
    options = {"pool_max": 1, "body_s": 0.2}
    async with Wire(postgres_url) as wire, through(wire, postgres, **options) as sql:
        await sql.health()
        wire.begins.clear()
        with pytest.raises(BodyCut):
            await sql.transact(partial(opened, bank, 1))
        wire.begins.set()
        await sql.write(bank.open, id=2, owner="x", balance=1)
        assert [a.id for a in await sql.fetch(bank.all)] == [2]


@pytest.mark.box("sql.outage")
async def test_a_silent_server_is_away_within_its_time(postgres, postgres_url, bank, monkeypatch):
    monkeypatch.setattr(driver, "GRACE_S", 0.1)
    options = {"statement_s": 0.2, "body_s": 1, "connect_s": 0.3}
    async with Wire(postgres_url) as wire, through(wire, postgres, **options) as sql:
        await sql.health()
        wire.silent.set()
        for asked, outcome in (
            (sql.one(bank.count), "none"),
            (sql.transact(partial(opened, bank, 1)), "none"),
            (sql.write(bank.open, id=2, owner="x", balance=1), "none"),
        ):
            began = time.perf_counter()
            with pytest.raises(DatabaseAway) as caught:
                await asked
            assert time.perf_counter() - began < 3
            assert caught.value.outcome == outcome
        wire.silent.clear()
        wire.cut()
        await sql.write(bank.open, id=3, owner="x", balance=1)


async def test_connections_that_the_server_ended_are_replaced(postgres, bank, beside):
    async with postgres.open() as sql:
        await asyncio.gather(*(sql.one(bank.count) for _ in range(5)))
        for asked in (
            lambda: sql.one(bank.count),
            lambda: sql.transact(partial(opened, bank, 1)),
            lambda: sql.fetch(bank.all),
        ):
            await ended(beside)
            await asked()


async def test_a_body_whose_connection_is_lost_before_the_commit_runs_again(postgres, bank, beside):
    runs = 0

    async def body(tx):
        nonlocal runs
        runs += 1
        await tx.run(bank.open, id=1, owner="x", balance=1)
        if runs == 1:
            await ended(beside)
        return await tx.one(bank.count)

    async with postgres.open() as sql:
        assert await sql.transact(body) == 1
        assert runs == 2
        assert await sql.one(bank.count) == 1


async def ended(beside):
    await beside.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bastide'"
    )


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgres://nobody:secret@127.0.0.1:1/x?connect_s=0.3", "127.0.0.1:1/x does not answer"),
        ("{wrong}?connect_s=0.3", "password authentication failed"),
    ],
)
async def test_a_server_that_is_absent_at_opening_is_told(postgres, postgres_url, url, message):
    parts = urlsplit(postgres_url)
    wrong = f"postgres://{parts.username}:secret@{parts.hostname}:{parts.port}{parts.path}"
    began = time.perf_counter()
    async with open_postgres(parse_url(url.format(wrong=wrong))) as backend:
        with pytest.raises(DatabaseAway, match=message) as caught:
            async with postgres.on(backend):
                pass
    assert 0.3 <= time.perf_counter() - began < 3
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("query", ["pool=3", "pool_max=0", "pool_max=1001", "sslmode=maybe"])
async def test_a_url_that_says_something_else_is_refused(query):
    with pytest.raises(Invalid):
        async with open_postgres(parse_url(f"postgres://host/name?{query}")):
            pass


async def test_a_connection_that_takes_no_writes_any_more_is_replaced(postgres, bank):
    """As those to a server that was demoted. First a write finds it, then a body."""
    read_only = Statement(text("SET default_transaction_read_only = on"), int)
    async with postgres.open(pool_max=1) as sql:
        await sql.one(read_only)
        await sql.write(bank.open, id=1, owner="x", balance=1)
        await sql.one(read_only)
        await sql.transact(partial(opened, bank, 2))
        assert await sql.one(bank.count) == 2


@pytest.mark.box("sql.outage")
async def test_a_standby_is_away_until_it_is_promoted(bank, own_server, monkeypatch):
    """After a failover: the old primary comes back as a standby, and is promoted again."""
    url, server = own_server
    monkeypatch.setattr(retry, "BACKOFF_MAX_S", 0.002)
    async with (
        open_postgres(parse_url(url)) as backend,
        backend.store("bank", None, bank.migrations) as store,
    ):
        sql = Sql(store, scan_pause_s=5)
        await sql.write(bank.open, id=1, owner="x", balance=1)
        await asyncio.to_thread(server, "halt")
        cluster = next(server.keywords["directory"].glob("bastide-engines*/postgres"))
        signal = cluster / "standby.signal"
        signal.touch()
        os.chown(signal, cluster.stat().st_uid, cluster.stat().st_gid)
        await asyncio.to_thread(server, "start")
        for asked in (
            sql.write(bank.open, id=2, owner="x", balance=1),
            sql.transact(partial(opened, bank, 3)),
        ):
            with pytest.raises(DatabaseAway, match="no writes") as caught:
                await asked
            assert caught.value.outcome == "none"
        beside = await asyncpg.connect(url)
        await beside.execute("SET default_transaction_isolation = 'read committed'")
        assert await beside.fetchval("SELECT pg_promote()")
        await beside.close()
        await sql.write(bank.open, id=4, owner="x", balance=1)
        assert [a.id for a in await sql.fetch(bank.all)] == [1, 4]


@pytest.mark.shows("sql.outage")
@pytest.mark.box("sql.outage")
async def test_a_server_that_crashes_is_away_and_heals_without_a_restart(bank, own_server):
    """Under writers; what was acknowledged is there afterwards."""
    url, server = own_server
    kept = set()
    changed = asyncio.Condition()
    counts = {"kept": 0, "away": 0}

    async def count(what):
        counts[what] += 1
        async with changed:
            changed.notify_all()

    async def until(what, more):
        wanted = counts[what] + more
        async with changed:
            await changed.wait_for(lambda: counts[what] >= wanted)

    async def writing(sql, first):
        for n in range(first, first + 1_000_000):
            try:
                await (
                    sql.transact(partial(opened, bank, n))
                    if n % 2
                    else sql.write(bank.open, id=n, owner="x", balance=1)
                )
            except DatabaseAway:
                await count("away")
                await asyncio.sleep(0.01)  # as a caller backs off
            else:
                kept.add(n)
                await count("kept")

    async with (
        open_postgres(parse_url(f"{url}?connect_s=1")) as backend,
        backend.store("bank", None, bank.migrations) as store,
    ):
        sql = Sql(store, scan_pause_s=5)
        tasks = [asyncio.create_task(writing(sql, n * 1_000_000)) for n in range(20)]
        await until("kept", 50)
        await asyncio.to_thread(server, "halt")
        await until("away", 20)
        with pytest.raises(DatabaseAway):
            await sql.one(bank.count)
        await asyncio.to_thread(server, "start")
        await until("kept", 50)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert kept <= {a.id async for a in sql.scan(bank.all)}
