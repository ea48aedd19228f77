"""A program that writes until it is killed: 200 tasks, each acknowledged transaction on stdout.

python dies.py DIRECTORY FIRST_ID
"""

import asyncio
import os
import sys
from itertools import count
from pathlib import Path

from sqlalchemy import BigInteger, bindparam, column, insert, table

from bastide.base.settings import parse_url
from bastide.base.tx import changes
from bastide.engines.sql.backends.sqlite import writer
from bastide.engines.sql.backends.sqlite.backend import open_sqlite
from bastide.engines.sql.contract import Migrations
from bastide.engines.sql.service import Sql

TASKS = 200
MIGRATIONS = Migrations(
    steps=["CREATE TABLE heads (id {key});\nCREATE TABLE tails (id {key}, head BIGINT NOT NULL);"]
)
HEAD = changes(insert(table("heads", column("id"))).values(id=bindparam("id", type_=BigInteger)))
TAIL = changes(
    insert(table("tails", column("id"), column("head"))).values(
        id=bindparam("id", type_=BigInteger), head=bindparam("id", type_=BigInteger)
    )
)


async def main(directory: Path, first: int) -> None:
    writer.CHECKPOINT_PAGES = 100  # so that some are killed in the middle of one
    ids = count(first)
    async with (
        open_sqlite(parse_url(f"sqlite://{directory}")) as backend,
        backend.store("dies", lambda: directory, MIGRATIONS) as store,
    ):
        sql = Sql(store, scan_pause_s=1)
        await asyncio.gather(*(write(sql, ids) for _ in range(TASKS)))


async def write(sql: Sql, ids: "count[int]") -> None:
    while True:
        id_ = next(ids)

        async def body(tx, id_=id_):
            await tx.run(HEAD, id=id_)
            await tx.run(TAIL, id=id_)

        await sql.transact(body)
        os.write(1, b"%d\n" % id_)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
