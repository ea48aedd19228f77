"""Files of links, through the doors: others' exports come in, ours goes out and in again."""

import asyncio
import csv
import errno
import io
from pathlib import Path

import pytest

from bastide.apps.shortener.api import files
from bastide.apps.shortener.api.files import (
    CHUNK_LINKS,
    FILE_BYTES_MAX,
    FILE_LINKS_MAX,
    REFUSALS_SHOWN_MAX,
)
from bastide.apps.shortener.contract import IMPORT_LINES_MAX, ImportOver
from bastide.apps.shortener.model import Draft
from bastide.base.tx import PAGE_ITEMS_MAX
from bastide.testing.town import raised
from tests.apps.shortener.conftest import Visitor, bearer
from tests.apps.shortener.test_rules import FIREFOX, IPHONE, rule
from tests.base.told import at_rest

EXPORTS = Path(__file__).with_name("exports")
# What comes of each sample: created, refused with the line, and one link of it.
EXPECTED = {
    "bitly-api.csv": (1, {}, "4fT9aQ2"),
    "bitly.csv": (3, {}, "Spring-Sale"),
    "dub.csv": (2, {}, "try"),
    "kutt.csv": (2, {4: "password"}, "launch"),
    "list.txt": (3, {}, "bee"),
    "ours.csv": (2, {}, "-dash"),
    "rebrandly.csv": (1, {}, "burn10M"),
    "shlink-importer.csv": (1, {}, "fall"),
    "shlink.csv": (2, {}, "fall"),
    "shortio.csv": (2, {}, "LaunchCase"),
    "yourls-plugin.csv": (2, {}, "ozh"),
    "yourls-unnamed.tsv": (2, {}, "ozh"),
    "yourls.csv": (2, {}, "ozh"),
}


async def sent(visitor, data, *, key=None, **query):
    """The reply to a file."""
    headers = {"content-type": "text/csv", **bearer(key)}
    return await visitor.client.post(
        "/api/links/import.csv", content=data, params=query, headers=headers
    )


async def imported(visitor, data, **more):
    reply = await sent(visitor, data, **more)
    assert reply.status_code == 200, reply.text
    return reply.json()


async def exported(visitor, key):
    reply = await visitor.client.get("/api/links/export.csv", headers=bearer(key))
    assert reply.status_code == 200, reply.text
    return reply.text


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def addresses(count, *, first=0):
    return "".join(f"https://{n}.example/\n" for n in range(first, first + count)).encode()


def refused(reply):
    return reply.status_code, reply.json()["type"].removeprefix("urn:bastide:")


# In


@pytest.mark.box("shortener.files")
@pytest.mark.parametrize("name", [path.name for path in sorted(EXPORTS.iterdir())])
async def test_an_export_of_another_shortener_comes_in(name, visitor):
    created, reasons, code = EXPECTED[name]
    told = await imported(visitor, (EXPORTS / name).read_bytes())
    assert (told["created"], told["existing"], told["refused"]) == (created, 0, len(reasons))
    assert {one["line"] for one in told["refusals"]} == reasons.keys()
    for one in told["refusals"]:
        assert reasons[one["line"]] in one["reason"]
    assert told["stopped"] == ""
    link = (await visitor.client.get(f"/api/{code}", headers=bearer(told["manage_key"]))).json()
    reply = await visitor.follow(code, agent=FIREFOX)
    assert reply.headers["location"] == link["original_url"]


@pytest.mark.box("shortener.files")
async def test_all_lines_of_somebody_without_a_key_belong_to_one_new_key(visitor):
    count = CHUNK_LINKS + 10
    told = await imported(visitor, addresses(count) + b"https://0.example/\n")
    assert (told["created"], told["existing"]) == (count, 1), "in the next commit too"
    assert len(rows_of(await exported(visitor, told["manage_key"]))) == count


@pytest.mark.box("shortener.files")
async def test_with_a_key_a_file_that_is_sent_again_makes_nothing_new(visitor):
    key = (await visitor.made("https://first.example"))["manage_key"]
    for created, existing in ((5, 0), (0, 5)):
        told = await imported(visitor, addresses(5), key=key)
        assert (told["created"], told["existing"]) == (created, existing)
        assert told["manage_key"] is None


@pytest.mark.box("shortener.files")
async def test_a_bad_line_is_refused_alone_and_by_its_number(visitor):
    await visitor.made(custom_code="taken")
    file = (
        "original_url,code,expires_at,tags\r\n"
        "https://a.example/,one,,\r\n"
        "javascript:alert(1),,,\r\n"
        '"https://b.example/",taken,,\r\n'
        "https://c.example/,links,,\r\n"
        f"https://d.example/,,,{'t' * 33}\r\n"
        "http://localhost/loop,,,\r\n"
        ",,,\r\n"
        "https://e.example/,,soon,\r\n"
        "https://f.example/,two,,\r\n"
    )
    told = await imported(visitor, file.encode())
    assert (told["created"], told["refused"]) == (2, 6)
    found = {one["line"]: one["reason"] for one in told["refusals"]}
    words = {3: "http", 4: "taken", 5: "reserved", 6: "33 characters", 7: "loop", 9: "no date"}
    assert found.keys() == words.keys()
    for line, word in words.items():
        assert word in found[line]


@pytest.mark.box("shortener.files")
@pytest.mark.parametrize(
    "rules",
    [
        '[{"when":{},"original_url":"https://x.example/"}]',
        '[{"when":{"moon":["full"]},"original_url":"https://x.example/"}]',
        '[{"when":{"device":["mobile"]},"original_url":"javascript:x"}]',
        '[{"when":{"after":"0001-01-01T00:00:00+14:00"},"original_url":"https://x.example/"}]',
        '{"when":1}',
        "[",
        "[" * 10_000,
    ],
)
async def test_rules_that_are_none_are_their_lines_refusal(rules, visitor):
    out = io.StringIO()
    lines = csv.writer(out)
    lines.writerow(["short_code", "original_url", "rules"])
    lines.writerow(["", "https://a.example/", rules])
    lines.writerow(["", "https://b.example/", ""])
    told = await imported(visitor, out.getvalue().encode())
    assert (told["created"], [one["line"] for one in told["refusals"]]) == (1, [2])


@pytest.mark.box("shortener.files")
@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "NUL"),
        (b"PK\x03\x04\x14\0\0\0", "NUL"),
        (b"", "nothing"),
        (b"who,when\r\nme,now\r\n", "no column"),
        (b"original_url\r\nhttps://\xff.example/\r\n", "UTF-8"),
        (b'original_url\r\n"https://a.example/\r\n', "quotes"),
    ],
)
async def test_what_is_no_file_of_links_is_refused_whole(data, word, visitor):
    reply = await sent(visitor, data)
    assert refused(reply) == (400, "csv-wrong")
    assert word in reply.json()["detail"]


@pytest.mark.box("shortener.files")
async def test_a_file_with_so_many_links_is_taken_and_not_with_one_more(visitor):
    reply = await sent(visitor, addresses(FILE_LINKS_MAX + 1))
    assert refused(reply) == (400, "csv-wrong")
    assert str(FILE_LINKS_MAX) in reply.json()["detail"]
    assert (await imported(visitor, addresses(FILE_LINKS_MAX)))["created"] == FILE_LINKS_MAX


@pytest.mark.box("shortener.files")
async def test_a_file_with_so_many_bytes_is_taken_and_not_with_one_more(visitor):
    front = addresses(2)
    whole = front + b"\n".rjust(1 << 16) * ((FILE_BYTES_MAX - len(front)) >> 16)
    whole += b"\n".rjust(FILE_BYTES_MAX - len(whole))
    assert len(whole) == FILE_BYTES_MAX
    assert (await imported(visitor, whole))["created"] == 2
    assert refused(await sent(visitor, whole + b"\n")) == (413, "too-large")

    async def in_pieces():
        yield whole
        yield b"\n"

    assert refused(await sent(visitor, in_pieces())) == (413, "too-large"), "of unknown length"


@pytest.mark.box("shortener.files")
async def test_of_many_refusals_the_first_are_told_and_all_are_counted(visitor):
    told = await imported(visitor, b"https:///\n" * (REFUSALS_SHOWN_MAX + 1))
    assert (told["created"], told["refused"]) == (0, REFUSALS_SHOWN_MAX + 1)
    assert [told["refusals"][n]["line"] for n in (0, -1)] == [1, REFUSALS_SHOWN_MAX]
    assert told["manage_key"] is None, "there is nothing to manage"


@pytest.mark.box("shortener.files")
async def test_days_are_for_lines_without_an_end(visitor, town):
    file = b"original_url,expires_at\nhttps://a.example/,\nhttps://b.example/,2027-06-01\n"
    key = (await imported(visitor, file, expires_days=1))["manage_key"]
    ends = {row["original_url"]: row["expires_at"] for row in rows_of(await exported(visitor, key))}
    assert ends == {
        "https://a.example/": "2027-01-16T08:00:00Z",
        "https://b.example/": "2027-06-01T00:00:00Z",
    }
    assert (await sent(visitor, file, expires_days=-1)).status_code == 400


@pytest.mark.box("shortener.files")
async def test_another_key_than_ours_imports_nothing(visitor):
    assert refused(await sent(visitor, addresses(1), key="none-of-ours")) == (403, "key-wrong")


@pytest.mark.limit("shortener.IMPORT_LINES_MAX")
async def test_one_commit_takes_so_many_links_and_not_one_more(town):
    """The doors cut or refuse before; whoever calls the verb meets its own limit."""
    shortener = town.served("shortener")
    drafts = [Draft(f"https://{n}.example/") for n in range(IMPORT_LINES_MAX + 1)]
    made = await shortener.import_links(drafts[:-1], owner=None)
    assert len([line for line in made.lines if line.link]) == IMPORT_LINES_MAX
    for wrong in ([], drafts):
        with pytest.raises(ImportOver, match=f"1 to {IMPORT_LINES_MAX}"):
            await shortener.import_links(wrong, owner=None)


# What can't be kept any more


class Commits:
    """From the commit `fails_from` on, counted from 1, all fail."""

    def __init__(self, town, *, fails_from):
        self.count = 0
        self.fails_from = fails_from
        town.town.runtime.faults["sql.before_commit"] = self._reached

    def _reached(self):
        self.count += 1
        if self.count >= self.fails_from:
            raise OSError(errno.EIO, "the disk is gone")


@pytest.mark.box("shortener.files")
async def test_an_outage_in_the_middle_stops_and_says_where(raised_with):
    visitor = await raised_with(BASTIDE_SHORTENER_CODES="random")  # which cost no commit
    await at_rest(visitor.town)
    file = addresses(2 * CHUNK_LINKS + 5)
    commits = Commits(visitor.town, fails_from=2)
    told = await imported(visitor, file)
    assert told["created"] == CHUNK_LINKS
    assert told["stopped_at_line"] == CHUNK_LINKS + 1
    assert told["stopped"]
    commits.fails_from = 1 << 30
    again = await imported(visitor, file, key=told["manage_key"])
    assert (again["created"], again["existing"]) == (CHUNK_LINKS + 5, CHUNK_LINKS)
    assert again["stopped"] == ""


@pytest.mark.box("shortener.files")
async def test_a_commit_whose_answer_is_lost_leaves_a_key_and_says_which_lines(visitor, town):
    """They may be in, and then nobody else could manage them."""
    await at_rest(town)
    commits = Commits(town, fails_from=1)
    told = await imported(visitor, addresses(3))
    assert (told["created"], told["stopped_at_line"]) == (0, 1)
    assert "lines 1 to 3 may be in" in told["stopped"]
    commits.fails_from = 1 << 30
    again = await imported(visitor, addresses(3), key=told["manage_key"])
    assert again["created"] + again["existing"] == 3


@pytest.mark.box("shortener.files")
async def test_an_import_that_takes_too_long_says_where_it_stopped(visitor, monkeypatch):
    monkeypatch.setattr(files, "IMPORT_S", -1.0)
    told = await sent(visitor, addresses(3))
    assert told.status_code == 503


@pytest.mark.box("shortener.files")
async def test_redirects_go_on_while_a_file_is_imported(visitor):
    code = (await visitor.made())["short_code"]
    importing = asyncio.create_task(imported(visitor, addresses(8 * CHUNK_LINKS)))
    answered = 0
    while not importing.done():
        assert (await visitor.follow(code)).status_code == 302
        answered += 1
        await asyncio.sleep(0)  # a redirect gives no turn to others
    assert (await importing)["created"] == 8 * CHUNK_LINKS
    assert answered > 8


# Out


@pytest.mark.box("shortener.files")
async def test_all_links_go_out_the_newest_first(visitor):
    count = 2 * PAGE_ITEMS_MAX + 1
    key = (await imported(visitor, addresses(count)))["manage_key"]
    await visitor.made("https://another.example")
    reply = await visitor.client.get("/api/links/export.csv", headers=bearer(key))
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    assert reply.headers["cache-control"] == "no-store"
    assert 'filename="links.csv"' in reply.headers["content-disposition"]
    found = [row["original_url"] for row in rows_of(reply.text)]
    assert found == [f"https://{n}.example/" for n in reversed(range(count))]


@pytest.mark.box("shortener.files")
async def test_who_has_no_key_gets_no_file(visitor):
    assert (await visitor.client.get("/api/links/export.csv")).status_code == 401
    reply = await visitor.client.get("/api/links/export.csv", headers=bearer("none-of-ours"))
    assert refused(reply) == (403, "key-wrong")


KEPT = ("original_url", "title", "tags", "expires_at", "visits_max", "disabled", "permanent")


@pytest.mark.box("shortener.files")
async def test_a_file_of_ours_makes_the_same_links_in_another_town(visitor):
    """Codes are never given again, so it is another town that they come to."""
    first = await visitor.made(
        "https://example.com/,?a=b;c",
        custom_code="-dash",
        title='=SUM("1"), or',
        tags=["news", "spring sale"],
        rules=[rule(system=["ios"], language=["de", "en-GB"], query={"ref": "=1"})],
        visits_max=7,
        expires_at="2027-12-31T23:59:59.250Z",
    )
    key, more = first["manage_key"], [{"title": "'quoted"}, {"permanent": True}, {"tags": ["ä"]}]
    for n, facts in enumerate(more):
        await visitor.made(f"https://{n}.example/", key=key, **facts)
    off = await visitor.made("https://off.example/", key=key)
    await visitor.change(off["short_code"], key, disabled=True)
    await visitor.follow("-dash", agent=FIREFOX)
    file = await exported(visitor, key)
    counts = {row["original_url"]: row["total_clicks"] for row in rows_of(file)}
    assert counts["https://example.com/,?a=b;c"] == "1"
    async with raised("shortener") as other:
        there = Visitor(await other.client("shortener"), other)
        told = await imported(there, file.encode())
        assert (told["created"], told["refused"]) == (len(more) + 2, 0)
        new = told["manage_key"]
        before, after = rows_of(file), rows_of(await exported(there, new))
        links = [
            {r["short_code"]: [r[name] for name in (*KEPT, "rules")] for r in rows}
            for rows in (before, after)
        ]
        assert links[0] == links[1]
        one = (await there.client.get("/api/-dash", headers=bearer(new))).json()
        assert {name: one[name] for name in (*KEPT, "rules")} == {
            name: first[name] for name in (*KEPT, "rules")
        }
        assert one["total_clicks"] == 0, "clicks are what was answered here"
        headers = {"user-agent": IPHONE, "accept-language": "de"}
        led = await there.client.get("/-dash?ref==1", headers=headers)
        assert led.headers["location"] == "https://there.example/"
        assert (await there.follow(off["short_code"])).status_code == 410
