"""One small schema, on whichever backend a test is run."""

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlencode

import msgspec
import pytest
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from bastide.base.settings import parse_url
from bastide.base.tx import Statement, among, changes
from bastide.engines.sql import tables
from bastide.engines.sql.backends.sqlite.backend import open_memory, open_sqlite
from bastide.engines.sql.contract import Migrations
from bastide.engines.sql.service import Sql

ENGINES = Path(__file__).parents[3] / "scripts" / "engines"
STEPS = [
    "CREATE TABLE accounts (id {key}, owner TEXT NOT NULL, balance BIGINT NOT NULL, "
    "CHECK (balance >= 0));",
    """
    CREATE TABLE notes (
        place {serial}, text TEXT NOT NULL, bytes {bytes}, flag BOOLEAN,
        account BIGINT REFERENCES accounts (id));
    CREATE UNIQUE INDEX notes_by_text ON notes (text);
    """,
]
_METADATA = MetaData()
accounts = Table(
    "accounts",
    _METADATA,
    Column("id", BigInteger, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("balance", BigInteger, nullable=False),
)
notes = Table(
    "notes",
    _METADATA,
    Column("place", BigInteger, primary_key=True),
    Column("text", Text, nullable=False),
    Column("bytes", LargeBinary),
    Column("flag", Boolean),
    Column("account", BigInteger),
)


class Account(msgspec.Struct, frozen=True):
    id: int
    owner: str
    balance: int


class Note(msgspec.Struct, frozen=True):
    text: str
    bytes: bytes | None
    flag: bool | None


def number(value):
    return value


@pytest.fixture(scope="session")
def bank():
    """The statements that tests use."""
    everything = select(accounts).order_by(accounts.c.id)
    bound = everything.where(accounts.c.id > bindparam("after", type_=BigInteger)).limit(
        bindparam("limit", type_=BigInteger)
    )
    return SimpleNamespace(
        Account=Account,
        Note=Note,
        metadata=_METADATA,
        migrations=Migrations(steps=STEPS),
        open=changes(insert(accounts)),
        add=changes(
            update(accounts)
            .where(accounts.c.id == bindparam("of", type_=BigInteger))
            .values(balance=accounts.c.balance + bindparam("amount", type_=BigInteger))
        ),
        close=changes(delete(accounts).where(accounts.c.id == bindparam("of", type_=BigInteger))),
        get=Statement(select(accounts).where(accounts.c.id == bindparam("id")), Account),
        all=Statement(everything, Account),
        some=Statement(select(accounts).where(among(accounts.c.id, "ids")), Account),
        owners=Statement(select(accounts).where(among(accounts.c.owner, "owners")), Account),
        after=Statement(bound, Account),
        named=Statement(
            select(accounts)
            .order_by(accounts.c.owner)
            .where(accounts.c.owner > bindparam("after"))
            .limit(bindparam("limit", type_=BigInteger)),
            Account,
        ),
        count=Statement(select(func.count()).select_from(accounts), number),
        note=changes(
            insert(notes).values(
                text=bindparam("text"), bytes=bindparam("bytes"), flag=bindparam("flag")
            )
        ),
        note_of=changes(insert(notes).values(text=bindparam("text"), account=bindparam("account"))),
        placed=Statement(
            insert(notes).values(text=bindparam("text")).returning(notes.c.place), number
        ),
        noted=Statement(
            select(notes.c.text, notes.c.bytes, notes.c.flag).where(
                notes.c.text == bindparam("text")
            ),
            Note,
        ),
        once=Statement(select(tables.once.c.key).order_by(tables.once.c.key), str),
    )


class Databases:
    """Opens databases on one backend. The same client names the same rows, as after a restart."""

    def __init__(self, scheme: str, directory: Path, migrations: Migrations) -> None:
        self.scheme = scheme
        self.directory = directory
        self.migrations = migrations
        self.client = f"bank_{secrets.token_hex(4)}"
        self.clients: set[str] = set()

    @asynccontextmanager
    async def backend(self, **options) -> AsyncIterator:
        where = {"sqlite": f"sqlite://{self.directory}", "memory": "memory://"}
        base = where.get(self.scheme) or os.environ["BASTIDE_TEST_POSTGRES_URL"]
        async with _opener(self.scheme)(parse_url(f"{base}?{urlencode(options)}")) as backend:
            yield backend

    @asynccontextmanager
    async def on(self, backend, *, client=None, migrations=None) -> AsyncIterator[Sql]:
        tables, client = migrations or self.migrations, client or self.client
        self.clients.add(client)
        async with backend.store(client, lambda: self.directory, tables) as store:
            yield Sql(store, scan_pause_s=backend.scan_pause_s)

    @asynccontextmanager
    async def open(self, *, client=None, migrations=None, **options) -> AsyncIterator[Sql]:
        async with (
            self.backend(**options) as backend,
            self.on(backend, client=client, migrations=migrations) as sql,
        ):
            yield sql


def _opener(scheme):
    if scheme == "postgres":
        from bastide.engines.sql.backends.postgres.backend import open_postgres

        return open_postgres
    return {"sqlite": open_sqlite, "memory": open_memory}[scheme]


@pytest.fixture
def postgres_url():
    """Needed by every test that is marked `engine("postgres")`."""
    url = os.environ.get("BASTIDE_TEST_POSTGRES_URL")
    if not url:
        reason = "BASTIDE_TEST_POSTGRES_URL is not set: scripts/engines start"
        if os.environ.get("BASTIDE_TEST_ENGINES_REQUIRED") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return url


def _engines(verb, directory):
    """A server of this test's own, since it is stopped in the middle."""
    environ = {**os.environ, "TMPDIR": str(directory)}
    command = [sys.executable, str(ENGINES), verb]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    return told.get("export BASTIDE_TEST_POSTGRES_URL", "")


@pytest.fixture
def own_server(postgres_url):
    """Its URL, and what starts and halts it."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)  # the server may run as another user
        url = _engines("start", directory)
        yield url, partial(_engines, directory=Path(directory))
        _engines("stop", directory)


REAL = pytest.param("postgres", marks=pytest.mark.engine("postgres"))


@pytest.fixture(params=["sqlite", "memory", REAL])
async def databases(request, tmp_path, bank):
    async for opened in _databases(request, request.param, tmp_path, bank):
        yield opened


@pytest.fixture(params=["sqlite", REAL])
async def durable(request, tmp_path, bank):
    """The backends that keep their rows when they are closed."""
    async for opened in _databases(request, request.param, tmp_path, bank):
        yield opened


@pytest.fixture
async def sqlite(request, tmp_path, bank):
    async for opened in _databases(request, "sqlite", tmp_path, bank):
        yield opened


@pytest.fixture
async def postgres(request, tmp_path, bank):
    async for opened in _databases(request, "postgres", tmp_path, bank):
        yield opened


async def _databases(request, scheme, directory, bank):
    if scheme == "postgres":
        url = request.getfixturevalue("postgres_url")
    databases = Databases(scheme, directory, bank.migrations)
    yield databases
    if scheme == "postgres":
        await _drop(url, databases.clients)


async def _drop(url, schemas):
    import asyncpg

    connection = await asyncpg.connect(url)
    for schema in schemas:
        await connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
    await connection.close()


@pytest.fixture
async def sql(databases):
    async with databases.open() as opened:
        yield opened
