"""The fold: many clicks in few steps, and each once, wherever it is stopped."""

import errno
import shutil
from collections import Counter
from contextlib import asynccontextmanager
from random import Random

import pytest

from bastide.apps.shortener.contract import JournalBehind
from bastide.apps.shortener.core import clicks as core
from bastide.apps.shortener.core.clicks import Click, Stretch
from bastide.apps.shortener.model import Draft, Settings
from bastide.apps.shortener.service.clicks import PAUSE, PAUSE_MAX_S, open_clicks
from bastide.apps.shortener.service.fold import STEP_DAYS, STRETCHES_HELD_MAX
from bastide.apps.shortener.tables import DAYS_OF_LINK
from bastide.base.errors import Unavailable
from bastide.base.faults import armed
from bastide.parts.visitor.contract import Client, Visitor
from bastide.testing.town import raised

SOMEBODY = Visitor(Client("desktop", "linux", "firefox", False), "FI", (), "")
CRAWLER = Visitor(Client("other", "other", "other", True), "US", (), "")
LOST = OSError(errno.EIO, "lost")


class Counting:
    """Links, and clicks on them in a journal below `directory`; `sent` is what must be counted."""

    def __init__(self, town, directory, link_ids):
        self.town, self.directory, self.link_ids = town, directory, link_ids
        self.sent = Counter()
        self.shortener = town.served("shortener")

    @asynccontextmanager
    async def opened(self):
        """As by a process that begins."""
        shortener = self.shortener
        async with open_clicks(
            self.directory, shortener._db, shortener._bell, Settings()
        ) as clicks:
            yield clicks

    async def click(self, clicks, link_id, visitor=SOMEBODY):
        self.sent[link_id] += 1
        await clicks.record(
            Click(f"{self.sent.total():018}", link_id, self.town.clock.now_ms(), visitor)
        )

    async def counted(self, clicks):
        """Totals by link; each agrees with its days."""
        found = Counter()
        for link_id in self.link_ids:
            stats = await clicks.counted(link_id)
            rows = await self.shortener._db.fetch(DAYS_OF_LINK, link_id=link_id, first=0)
            assert sum(row.clicks + row.bots for row in rows) == stats.total_clicks
            assert sum(row.bots for row in rows) == stats.bot_clicks
            found[link_id] = stats.total_clicks
        return +found


@asynccontextmanager
async def counting(directory, links):
    environ = {"BASTIDE_SQL_URL": "sqlite://"}
    async with raised("shortener", environ=environ, data=directory / "town") as town:
        drafts = [Draft(f"https://example.com/{n}") for n in range(links)]
        made = await town.served("shortener").import_links(drafts, owner=None)
        yield Counting(town, directory / "clicks", [line.link.id for line in made.lines])


def failing_at(count):
    """An error the `count`th time, and from then on."""
    left = [count]

    def happens():
        left[0] -= 1
        if left[0] <= 0:
            raise LOST

    return happens


@pytest.mark.box("shortener.exact")
@pytest.mark.parametrize("point", ["sql.before_commit", "sql.after_commit"])
@pytest.mark.parametrize("step", [1, 2, 3])
async def test_whoever_dies_within_a_stretch_goes_on_where_it_was(step, point, tmp_path):
    async with counting(tmp_path, 3 * STEP_DAYS) as play:
        async with play.opened() as clicks:
            for link_id in play.link_ids * 2:
                await play.click(clicks, link_id)
            with armed(point, failing_at(step)), pytest.raises(Unavailable):
                await clicks.fold()
        async with play.opened() as clicks:
            await play.click(clicks, play.link_ids[0])
            assert clicks.unfolded > 0
            await clicks.fold()
            assert (clicks.unfolded, await play.counted(clicks)) == (0, play.sent)


@pytest.mark.box("shortener.exact")
async def test_a_journal_that_lacks_the_end_of_a_stretch_is_an_older_copy(tmp_path):
    async with counting(tmp_path, 2 * STEP_DAYS) as play:
        async with play.opened() as clicks:
            await play.click(clicks, play.link_ids[0])
            await clicks.fold()
        shutil.copytree(play.directory, tmp_path / "copy")
        async with play.opened() as clicks:
            for link_id in play.link_ids:
                await play.click(clicks, link_id)
            with armed("sql.before_commit", failing_at(2)), pytest.raises(Unavailable):
                await clicks.fold()
        play.directory = tmp_path / "copy"
        with pytest.raises(JournalBehind, match=f"{2 * STEP_DAYS + 1} clicks .* it holds 1: put"):
            async with play.opened():
                pass


@pytest.mark.box("shortener.exact")
@pytest.mark.parametrize("point", ["sql.before_commit", "sql.after_commit"])
async def test_a_step_whose_answer_was_lost_is_neither_missed_nor_repeated(point, tmp_path):
    async with counting(tmp_path, 2 * STEP_DAYS + 1) as play, play.opened() as clicks:
        for step in (1, 2, 3):
            for link_id in play.link_ids:
                await play.click(clicks, link_id)
            with armed(point, failing_at(step)), pytest.raises(Unavailable):
                await clicks.fold()
            await play.click(clicks, play.link_ids[-1])
            await clicks.fold()
            assert (clicks.unfolded, await play.counted(clicks)) == (0, play.sent)


@pytest.mark.box("shortener.exact")
@pytest.mark.parametrize("seed", range(4))
async def test_any_row_of_clicks_folds_failures_and_restarts_counts_each_once(
    seed, tmp_path, monkeypatch
):
    print(f"seed {seed}")
    chance = Random(seed)
    monkeypatch.setattr(core, "STRETCH_CLICKS_MAX", 90)
    monkeypatch.setattr("bastide.apps.shortener.service.fold.STEP_DAYS", 7)
    async with counting(tmp_path, 30) as play:
        for _ in range(4):
            async with play.opened() as clicks:
                for _ in range(6):
                    for _ in range(chance.randrange(300)):
                        link_id = chance.choice(play.link_ids)
                        await play.click(clicks, link_id, chance.choice([SOMEBODY, CRAWLER]))
                    play.town.clock.advance(chance.choice([0, 8 * 3600]))
                    point = chance.choice(["sql.before_commit", "sql.after_commit"])
                    with armed(point, failing_at(chance.randrange(1, 8))):
                        try:
                            await clicks.fold()
                        except Unavailable:
                            continue
        async with play.opened() as clicks:
            await clicks.fold()
            assert (clicks.unfolded, await play.counted(clicks)) == (0, play.sent)


@pytest.mark.box("shortener.exact")
@pytest.mark.parametrize("more", [0, 1])
async def test_so_many_stretches_are_held_and_older_clicks_are_read_from_the_journal(
    more, tmp_path, monkeypatch
):
    monkeypatch.setattr(core, "STRETCH_CLICKS_MAX", 10)
    async with counting(tmp_path, 3) as play, play.opened() as clicks:
        for n in range(10 * (STRETCHES_HELD_MAX + more)):
            await play.click(clicks, play.link_ids[n % 3])
        held = clicks._fold._held
        assert (len(held), held[0].first) == (STRETCHES_HELD_MAX, 10 * more)
        await clicks.fold()
        assert (clicks.unfolded, await play.counted(clicks)) == (0, play.sent)


@pytest.mark.parametrize(
    ("limit", "click"),
    [
        ("STRETCH_CLICKS_MAX", lambda n: (1, 0, b"")),
        ("STRETCH_DAYS_MAX", lambda n: (n, 0, b"")),
        ("STRETCH_TOLD_MAX", lambda n: (1, 0, b"%d" % n)),
    ],
)
def test_a_stretch_is_full_at_its_limit_and_not_before(limit, click):
    stretch = Stretch(0)
    for n in range(getattr(core, limit)):
        assert not stretch.is_full
        stretch.add(*click(n))
    assert stretch.is_full


async def test_a_fold_that_took_long_is_followed_by_a_pause_but_for_who_asks(tmp_path):
    async with counting(tmp_path, 1) as play, play.opened() as clicks:
        clock, [link_id] = play.town.clock, play.link_ids
        for took_s, pause_s in ((0.01, PAUSE * 0.01), (1.0, PAUSE_MAX_S)):
            await play.click(clicks, link_id)
            with armed("sql.before_commit", lambda: clock.advance(took_s)):  # noqa: B023 (in turn)
                await clicks.tend()
            assert clicks.unfolded == 0
            await play.click(clicks, link_id)
            clock.advance(pause_s * 0.99)
            await clicks.tend()
            assert clicks.unfolded == 1
            clock.advance(pause_s * 0.02)
            await clicks.tend()
            assert clicks.unfolded == 0
        with armed("sql.before_commit", lambda: clock.advance(1.0)):
            await play.click(clicks, link_id)
            await clicks.tend()
        await play.click(clicks, link_id)
        assert (await clicks.stats(link_id)).total_clicks == play.sent.total()
