"""`bastide shortener ...`: files in and out, and single links. More of `import` in test_import."""

import csv
import io
import os
import pty
import sys
from argparse import ArgumentParser
from pathlib import Path

import msgspec
import pytest

from bastide.apps.shortener.api import IMPORT_BYTES_MAX
from bastide.apps.shortener.commands import COMMANDS
from bastide.apps.shortener.contract import CsvWrong
from bastide.base.errors import Denied, Invalid, NotFound

EXPORTS = Path(__file__).with_name("exports")
RULES = [
    {"when": {"device": ["mobile"], "language": ["de"]}, "original_url": "https://m.example.com/"},
    {"when": {"before": "2027-06-01T00:00:00Z"}, "original_url": "https://example.com/a,b;'\"x"},
]


def bearer(key):
    return {"authorization": f"Bearer {key}"}


def of(visitor):
    """`await bastide("import", FILE)`, as its parser and its client would have it."""

    async def run(name: str, *words: str) -> None:
        command = next(c for c in COMMANDS if c.name == name)
        parser = ArgumentParser()
        command.declare(parser)
        await command.run(visitor.client, parser.parse_args(words))

    return run


@pytest.fixture
def bastide(visitor):
    return of(visitor)


@pytest.fixture
def terminal(monkeypatch):
    """What is written to it, a person types at the standard input."""
    ours, theirs = pty.openpty()
    with open(theirs) as typed:
        monkeypatch.setattr(sys, "stdin", typed)
        yield ours
    os.close(ours)


async def links_of(visitor, key):
    reply = await visitor.client.get("/api/links?limit=100", headers=bearer(key))
    assert reply.status_code == 200, reply.text
    return reply.json()["items"]


# Files in


@pytest.mark.box("shortener.import")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bitly.csv", ["made: 3, duplicates: 0, bad lines: 0"]),
        ("dub.csv", ["made: 2, duplicates: 0, bad lines: 0"]),
        (
            "kutt.csv",
            [
                "line 4: it asks for a password, which no link does here",
                "made: 2, duplicates: 0, bad lines: 1",
            ],
        ),
        ("shlink.csv", ["made: 2, duplicates: 0, bad lines: 0"]),
        ("yourls-unnamed.tsv", ["made: 2, duplicates: 0, bad lines: 0"]),
        ("ours.csv", ["made: 2, duplicates: 0, bad lines: 0"]),
    ],
)
async def test_import_takes_the_files_of_other_shorteners(name, said, bastide, capsys):
    await bastide("import", str(EXPORTS / name))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("manage key: ")
    assert lines[1:] == said


@pytest.mark.box("shortener.import")
async def test_import_keeps_code_title_tags_and_end(bastide, visitor, capsys):
    await bastide("import", str(EXPORTS / "shortio.csv"), "--days", "3")
    key = capsys.readouterr().out.splitlines()[0].removeprefix("manage key: ")
    evergreen, launch = await links_of(visitor, key)
    assert launch["short_code"] == "LaunchCase"
    assert launch["title"] == 'Release, "wave 1"'
    assert launch["tags"] == ["marketing", "launch"]
    assert launch["expires_at"] == "2027-05-01T08:00:00Z"
    assert evergreen["expires_at"] == "2027-01-18T08:00:00Z"  # as --days says


@pytest.mark.box("shortener.import")
async def test_duplicates_are_told_by_the_lines_of_the_file_itself(bastide, tmp_path, capsys):
    file = tmp_path / "links.csv"
    file.write_text(
        'url,title,code\nhttps://a.example/,,\nhttps://b.example/,"on\ntwo lines",bee\n'
        "https://a.example/,,\n,,\nhttps://c.example/,,bee\n"
    )
    await bastide("import", str(file))
    said = capsys.readouterr().out.splitlines()
    assert said[1].startswith("line 5: duplicate of line 2, http://localhost/shortener/")
    assert said[2:] == [
        "line 7: the code 'bee' is already taken",
        "made: 2, duplicates: 1, bad lines: 1",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG\r\n\0", "it is no text: there is a NUL in it"),
        (b"name,address\nA,https://a.example", "'name,address' names no column"),
        (b'url,title\nhttps://a.example,"open', "line 2: its quotes don't match"),
        (b"", "there is nothing in it"),
    ],
)
async def test_a_file_that_is_none_of_these_is_refused_by_name(content, message, bastide, tmp_path):
    file = tmp_path / "links.csv"
    file.write_bytes(content)
    with pytest.raises(CsvWrong) as found:
        await bastide("import", str(file))
    assert str(found.value).startswith(f"{file}: {message}")


async def test_rows_that_are_too_large_for_one_request_are_parted(bastide, tmp_path, capsys):
    """All 250 would be one by their number."""
    rule = {"when": {"country": ["CH"]}, "original_url": "https://example.com/".ljust(2000, "a")}
    rules = msgspec.json.encode([rule] * 20).decode()
    out = io.StringIO()
    rows = ([f"large-{n}", f"https://example.com/{n}", rules] for n in range(250))
    csv.writer(out).writerows([["short_code", "original_url", "rules"], *rows])
    assert len(out.getvalue()) > 2 * IMPORT_BYTES_MAX
    file = tmp_path / "links.csv"
    file.write_text(out.getvalue(), newline="")
    await bastide("import", str(file))
    assert capsys.readouterr().out.endswith("made: 250, duplicates: 0, bad lines: 0\n")


async def test_rules_that_are_none_end_an_import_with_the_lines(bastide, tmp_path):
    file = tmp_path / "links.csv"
    good = "".join(f"code-{n},https://example.com/{n},\n" for n in range(250))
    file.write_text(f'short_code,original_url,rules\n{good}bad,https://a.example/,"[{{}}]"\n')
    with pytest.raises(Invalid, match="lines 252 to 252: the body is not as wanted"):
        await bastide("import", str(file))


# Files out


@pytest.mark.box("shortener.import")
async def test_what_is_exported_is_imported_as_it_was(visitor, raised_with, tmp_path, capsys):
    key = (await visitor.made("https://example.com/plain"))["manage_key"]
    await visitor.made(
        "https://example.com/?a=1,2",
        key=key,
        custom_code="-dash_",
        title='=SUM(A1), "it\'s" a title; ünicode',
        tags=["@news", "two words"],
        expires_at="2027-11-21T10:00:00.250Z",
        rules=RULES,
        visits_max=7,
    )
    await visitor.made("https://example.com/301", key=key, custom_code="moved", permanent=True)
    await visitor.made("https://example.com/off", key=key, custom_code="off")
    assert (await visitor.change("off", key, disabled=True)).status_code == 200
    file = tmp_path / "links.csv"
    await of(visitor)("export", str(file), "--key", key)
    other = await raised_with()
    capsys.readouterr()
    await of(other)("import", str(file))
    said = capsys.readouterr().out.splitlines()
    assert said[1:] == ["made: 4, duplicates: 0, bad lines: 0"]
    there = await links_of(other, said[0].removeprefix("manage key: "))
    assert len(there) == 4
    assert told(there) == told(await links_of(visitor, key))


def told(links):
    """What a file keeps: not when it was made, and what happened to it since."""
    lost = ("created_at", "blocked", "total_clicks", "bot_clicks", "pending", "visits_left")
    kept = [{k: v for k, v in link.items() if k not in lost} for link in links]
    return sorted(kept, key=lambda link: link["short_code"])


async def test_export_writes_to_the_standard_output(bastide, visitor, capsysbinary):
    made = await visitor.made("https://a.example", custom_code="mine", title="ü")
    await bastide("export", "--key", made["manage_key"])
    (row,) = csv.DictReader(io.StringIO(capsysbinary.readouterr().out.decode(), newline=""))
    assert (row["short_code"], row["title"], row["total_clicks"]) == ("mine", "ü", "0")


async def test_a_failed_export_leaves_the_file_as_it_was(bastide, tmp_path):
    file = tmp_path / "links.csv"
    file.write_text("before")
    with pytest.raises(Denied):
        await bastide("export", str(file), "--key", "password")
    assert file.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["links.csv"]


@pytest.mark.parametrize("place", ["nothing/is/here.csv", "file/below.csv"])
async def test_an_export_to_where_nothing_can_be_is_refused(place, bastide, visitor, tmp_path):
    (tmp_path / "file").write_text("")
    key = (await visitor.made())["manage_key"]
    with pytest.raises(Invalid, match=place.partition("/")[0]):
        await bastide("export", str(tmp_path / place), "--key", key)


# Single links


async def test_a_link_is_switched_off_and_on(bastide, visitor, capsys):
    made = await visitor.made("https://a.example", custom_code="-dash")
    key = made["manage_key"]
    await bastide("disable", "--key", key, "--", "-dash")
    assert (await visitor.follow("-dash")).status_code == 410
    await bastide("enable", "--key", key, "--", "-dash")
    assert (await visitor.follow("-dash")).status_code == 302
    address = made["short_url"]
    assert capsys.readouterr().out.splitlines() == [f"off: {address}", f"on: {address}"]


@pytest.mark.parametrize("key_at", [0, 1, 3, 5])
async def test_tags_come_with_plus_and_go_with_minus(key_at, bastide, visitor, capsys):
    made = await visitor.made("https://a.example", custom_code="mine", tags=["old", "kept"])
    words = ["mine", "+New", "-old", "-h", "+two words"]
    words[key_at:key_at] = ["--key", made["manage_key"]]
    await bastide("tag", *words)
    assert capsys.readouterr().out == "tags: kept, new, two words\n"


async def test_a_tag_without_a_sign_is_refused(bastide):
    with pytest.raises(Invalid, match="'news': a tag comes with"):
        await bastide("tag", "mine", "news", "--key", "0" * 22)


async def test_a_link_is_deleted_if_told_so_and_nobody_is_asked(bastide, visitor, monkeypatch):
    made = await visitor.made("https://a.example", custom_code="mine")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))  # no terminal
    with pytest.raises(Invalid, match="--yes"):
        await bastide("delete", "mine", "--key", made["manage_key"])
    assert (await visitor.follow("mine")).status_code == 302
    await bastide("delete", "mine", "--yes", "--key", made["manage_key"])
    assert (await visitor.follow("mine")).status_code == 410


@pytest.mark.parametrize(
    ("answer", "said", "status"),
    [(b"\n", "kept", 302), (b"no\n", "kept", 302), (b"Y\n", "deleted: mine", 410)],
)
async def test_a_person_at_a_terminal_is_asked_first(
    answer, said, status, bastide, visitor, terminal, capsys
):
    made = await visitor.made("https://a.example", custom_code="mine")
    os.write(terminal, answer)  # it waits there until it is read
    await bastide("delete", "mine", "--key", made["manage_key"])
    asked = capsys.readouterr().out
    assert asked.startswith(f"{made['short_url']} to https://a.example, 0 clicks\nDelete it")
    assert asked.endswith(f"{said}\n")
    assert (await visitor.follow("mine")).status_code == status


@pytest.mark.parametrize("name", ["enable", "disable", "delete", "tag", "stats"])
@pytest.mark.parametrize("code", ["nothing", "links?tag=x", "../links", "mine/stats", "ü%2e"])
async def test_what_is_no_code_finds_no_link(name, code, bastide, visitor):
    made = await visitor.made("https://a.example", custom_code="mine")
    words = ["--yes"] if name == "delete" else []
    with pytest.raises(NotFound):
        await bastide(name, "--key", made["manage_key"], *words, code)
    assert (await visitor.follow("mine")).status_code == 302


async def test_another_key_changes_nothing(bastide, visitor):
    await visitor.made("https://a.example", custom_code="mine")
    other = (await visitor.made())["manage_key"]
    for words in (("disable",), ("tag",), ("delete", "--yes")):
        with pytest.raises(Denied):
            await bastide(*words, "--key", other, "mine")
    assert (await visitor.follow("mine")).status_code == 302


# Keys


async def test_a_key_is_read_from_the_first_line_of_a_file(bastide, visitor, tmp_path, capsys):
    made = await visitor.made("https://a.example", custom_code="mine")
    file = tmp_path / "key"
    file.write_text(f"{made['manage_key']}\r\nnot this\n")
    await bastide("stats", "mine", "--key-file", str(file))
    assert capsys.readouterr().out == "clicks: 0, by bots: 0\n"


@pytest.mark.parametrize(
    "words",
    [
        ("stats", "mine", "--key-file", "/nothing/is/here"),
        ("stats", "mine", "--key-file", os.devnull),
        ("stats", "mine", "--key", "a", "--key-file", "b"),
        ("stats", "mine"),
        ("tag", "mine", "+news"),
        ("export",),
    ],
)
async def test_a_command_without_a_key_is_refused_at_once(words, bastide, capsys):
    with pytest.raises(SystemExit) as ended:
        await bastide(*words)
    assert ended.value.code == 2
    assert "key" in capsys.readouterr().err


async def test_a_key_is_read_from_the_standard_input(bastide, visitor, monkeypatch, capsys):
    made = await visitor.made("https://a.example", custom_code="mine")
    given = io.TextIOWrapper(io.BytesIO(f"{made['manage_key']}\n".encode()))
    monkeypatch.setattr(sys, "stdin", given)
    await bastide("stats", "mine", "--key-file", "-")
    assert capsys.readouterr().out == "clicks: 0, by bots: 0\n"
