"""Brings a file's tables to the newest version."""

import apsw

from bastide.engines.sql.backends.sqlite.driver import DIALECT, refuse
from bastide.engines.sql.contract import Migrations
from bastide.engines.sql.core import SQLITE_WORDS, next_step, statements_of
from bastide.engines.sql.tables import (
    VERSION_DROP,
    VERSION_FIND,
    VERSION_KEEP,
    VERSION_TABLE,
)

_FIND, _DROP, _KEEP = (
    statement.compiled(DIALECT, None).text
    for statement in (VERSION_FIND, VERSION_DROP, VERSION_KEEP)
)


def migrate(connection: apsw.Connection, owner: str, migrations: Migrations, busy_ms: int) -> None:
    """For a thread: a step may take long, and so may who is at it already.

    Raises:
        SchemaNewer, DatabaseAway.
    """
    connection.set_busy_timeout(busy_ms)
    try:
        while _step(connection, owner, migrations):
            pass
    except apsw.Error as error:
        refuse(error)
    finally:
        connection.set_busy_timeout(0)


def _step(connection: apsw.Connection, owner: str, migrations: Migrations) -> bool:
    """One step in one transaction, its version with it; False if there was none to take."""
    connection.execute("BEGIN EXCLUSIVE")
    try:
        connection.execute(VERSION_TABLE)
        found = connection.execute(_FIND, {"owner": owner}).fetchone()
        version = found[0] if found else 0
        step = next_step(owner, version, migrations)
        if step is not None:
            for statement in statements_of(step, SQLITE_WORDS):
                connection.execute(statement)
            connection.execute(_DROP, {"owner": owner})
            connection.execute(_KEEP, {"owner": owner, "version": version + 1})
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return step is not None
