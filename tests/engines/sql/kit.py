"""What the tests of a database begin with."""


async def open_accounts(sql, bank, count, balance=100):
    async def body(tx):
        rows = [{"id": n, "owner": f"o{n:04}", "balance": balance} for n in range(1, count + 1)]
        await tx.run_many(bank.open, rows)

    await sql.transact(body)
