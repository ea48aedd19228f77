"""A database that is put back from a backup, while the log has gone on."""

import shutil

import apsw
import pytest

from tests.engines.bus.conftest import opened

RENUMBER = (
    "DELETE FROM bus_relays WHERE kind = 'outbox'; UPDATE bus_outbox SET seq = 9223372036854775807"
)


@pytest.mark.box("bus.restored")
async def test_after_a_backup_was_put_back_events_are_heard_if_they_are_numbered_anew(
    durable, tmp_path
):
    """By what the README says; else they would be taken for repetitions."""
    data = tmp_path / "town"
    async with opened(durable, data) as (kiosk, ledger, _):
        await kiosk.sell("tea")
        await ledger.until(1)
    shutil.copytree(data / "kiosk", tmp_path / "backup")
    async with opened(durable, data) as (kiosk, ledger, _):
        for _ in range(3):
            await kiosk.sell("tea")
        await ledger.until(4)
    shutil.copy(tmp_path / "backup/rows.db", data / "kiosk/rows.db")
    for left in ("rows.db-wal", "rows.db-shm"):
        (data / "kiosk" / left).unlink(missing_ok=True)
    apsw.Connection(str(data / "kiosk/rows.db")).execute(RENUMBER)
    async with opened(durable, data) as (kiosk, ledger, _):
        assert await kiosk.sold() == [("tea", 0)]
        for _ in range(2):
            await kiosk.sell("tea")
        before = [("tea", number) for number in range(4)]
        assert await ledger.until(6) == [*before, ("tea", 1), ("tea", 2)]
