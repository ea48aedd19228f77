"""Reading outside a body: fetch, page, scan."""

import asyncio

import pytest

from bastide.base.errors import Invalid
from bastide.base.tx import PAGE_ITEMS_MAX
from bastide.engines.sql import service
from bastide.engines.sql.contract import (
    FETCH_ROWS_MAX,
    SCANS_MAX,
    Contended,
    RowsOver,
    ScanCut,
)
from tests.engines.sql.kit import open_accounts


@pytest.mark.limit("sql.FETCH_ROWS_MAX")
async def test_fetch_gives_as_many_rows_as_are_allowed_and_refuses_one_more(sql, bank):
    await open_accounts(sql, bank, FETCH_ROWS_MAX)
    assert len(await sql.fetch(bank.all)) == FETCH_ROWS_MAX
    await sql.write(bank.open, id=1000, owner="x", balance=1)
    with pytest.raises(RowsOver):
        await sql.fetch(bank.all)


@pytest.mark.parametrize("limit", [1, 7, PAGE_ITEMS_MAX])
async def test_pages_walk_through_every_row_once(sql, bank, limit):
    await open_accounts(sql, bank, 105)
    seen, cursor = [], None
    while True:
        page = await sql.page(bank.after, lambda a: a.id, first=0, cursor=cursor, limit=limit)
        seen += [a.id for a in page.items]
        cursor = page.next
        if cursor is None:
            break
        assert len(page.items) == limit
    assert seen == list(range(1, 106))


async def test_a_page_that_ends_the_list_has_no_next(sql, bank):
    await open_accounts(sql, bank, 4)
    page = await sql.page(bank.named, lambda a: a.owner, first="", limit=4)
    assert [a.owner for a in page.items] == ["o0001", "o0002", "o0003", "o0004"]
    assert page.next is None


async def test_a_page_is_cut_to_its_maximum(sql, bank):
    await open_accounts(sql, bank, PAGE_ITEMS_MAX + 2)
    page = await sql.page(bank.after, lambda a: a.id, first=0, limit=PAGE_ITEMS_MAX + 1)
    assert len(page.items) == PAGE_ITEMS_MAX


async def test_a_row_that_is_written_behind_the_cursor_moves_no_page(sql, bank):
    await open_accounts(sql, bank, 6)
    page = await sql.page(bank.after, lambda a: a.id, first=0, limit=3)
    await sql.write(bank.open, id=-1, owner="new", balance=0)
    page = await sql.page(bank.after, lambda a: a.id, first=0, cursor=page.next, limit=3)
    assert [a.id for a in page.items] == [4, 5, 6]


@pytest.mark.parametrize("cursor", ["x", "", "////", "WyJhIl0", "WzFd" * 50])
async def test_a_cursor_that_is_not_ours_is_invalid(sql, bank, cursor):
    with pytest.raises(Invalid):
        await sql.page(bank.after, lambda a: a.id, first=0, cursor=cursor)


async def test_a_page_of_less_than_one_is_invalid(sql, bank):
    with pytest.raises(Invalid):
        await sql.page(bank.after, lambda a: a.id, first=0, limit=0)


async def test_a_scan_gives_every_row_in_order_on_one_snapshot(sql, bank):
    count = service.SCAN_ROWS * 2 + 10
    await open_accounts(sql, bank, count)
    seen = []
    async for account in sql.scan(bank.all):
        if not seen:
            await sql.write(bank.open, id=count + 1, owner="late", balance=1)
        seen.append(account.id)
    assert seen == list(range(1, count + 1))
    assert await sql.one(bank.count) == count + 1


async def test_a_scan_that_is_left_in_the_middle_ends(sql, bank):
    await open_accounts(sql, bank, 600)
    for _ in range(SCANS_MAX + 1):
        scan = sql.scan(bank.all)
        assert (await anext(scan)).id == 1
        await scan.aclose()


async def test_a_scan_that_is_cancelled_gives_its_place_back(sql, bank):
    await open_accounts(sql, bank, 600)
    begun = asyncio.Event()

    async def reads():
        async for _ in sql.scan(bank.all):
            begun.set()
            await asyncio.Event().wait()

    for _ in range(SCANS_MAX + 1):
        begun.clear()
        task = asyncio.create_task(reads())
        await begun.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.limit("sql.SCANS_MAX")
async def test_one_scan_too_many_waits_and_is_refused(sql, bank, monkeypatch):
    await open_accounts(sql, bank, 300)
    monkeypatch.setattr(service, "SCAN_PLACE_S", 0.05)
    scans = [sql.scan(bank.all) for _ in range(SCANS_MAX)]
    for scan in scans:
        await anext(scan)
    with pytest.raises(Contended):
        await anext(sql.scan(bank.all))
    for scan in scans:
        await scan.aclose()
    scan = sql.scan(bank.all)
    await anext(scan)
    await scan.aclose()


async def test_a_scan_whose_reader_pauses_too_long_is_cut(databases, bank):
    async with databases.open(scan_pause_s=0.02) as sql:
        await open_accounts(sql, bank, 600)
        scan = sql.scan(bank.all)
        await anext(scan)
        await asyncio.sleep(0.1)  # the pause is what is tested
        with pytest.raises(ScanCut):
            async for _ in scan:
                pass
