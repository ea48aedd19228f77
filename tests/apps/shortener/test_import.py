"""Many links at once: by the API, and by `bastide shortener import FILE`."""

import asyncio
import re
from pathlib import Path

import pytest

from bastide.apps.shortener.api import IMPORT_BYTES_MAX
from bastide.apps.shortener.commands import COMMANDS
from bastide.base.errors import Denied, Invalid, NotFound, Unavailable
from bastide.base.faults import armed, failing
from bastide.base.manifest import Command

HOMEPAGES = Path(__file__).with_name("homepages.txt")


def bearer(key):
    return {"authorization": f"Bearer {key}"}


@pytest.mark.box("shortener.import")
async def test_each_line_says_what_became_of_it(visitor):
    reply = await visitor.import_(
        "https://a.example",
        "ftp://a.example",
        "https://A.example/",
        {"original_url": "https://b.example", "custom_code": "bee"},
        {"original_url": "https://c.example", "custom_code": "bee"},
        {"original_url": "https://c.example", "custom_code": "x"},
        {"original_url": "https://c.example", "custom_code": "api"},
    )
    made = reply.json()
    assert reply.status_code == 200
    outcomes = [line["outcome"] for line in made["links"]]
    assert outcomes == ["created", "refused", "existing", "created", *["refused"] * 3]
    assert made["links"][2]["short_code"] == made["links"][0]["short_code"]
    assert made["links"][4]["reason"] == "the code 'bee' is already taken"
    listed = await visitor.client.get("/api/links", headers=bearer(made["manage_key"]))
    assert len(listed.json()["items"]) == 2


@pytest.mark.box("shortener.import")
async def test_the_owners_links_of_before_are_existing(visitor):
    made = await visitor.made("https://a.example")
    reply = await visitor.import_("https://a.example/", key=made["manage_key"])
    assert reply.json() == {
        "links": [
            {
                "outcome": "existing",
                "short_code": made["short_code"],
                "short_url": made["short_url"],
            }
        ]
    }


@pytest.mark.limit("shortener.IMPORT_LINES_MAX")
@pytest.mark.box("shortener.import")
async def test_an_import_of_1000_lines_is_taken_and_one_more_is_not(visitor):
    lines = [f"https://example.com/{n}" for n in range(1001)]
    assert (await visitor.import_(*lines)).status_code == 400
    assert (await visitor.import_()).status_code == 400
    reply = await visitor.import_(*lines[:1000])
    assert {line["outcome"] for line in reply.json()["links"]} == {"created"}


@pytest.mark.box("shortener.import")
async def test_the_largest_import_fits_and_a_larger_body_does_not(visitor):
    lines = ["https://example.com/" + f"{n:04}" + "a" * 2024 for n in range(1000)]
    assert (await visitor.import_(*lines)).status_code == 200
    reply = await visitor.client.post("/api/links/import", content=b" " * (IMPORT_BYTES_MAX + 1))
    assert reply.status_code == 413


@pytest.mark.box("shortener.import")
@pytest.mark.box("shortener.repeat")
async def test_a_repeated_import_makes_nothing_twice_and_tells_its_key_again(visitor):
    lines = [f"https://example.com/{n}" for n in range(50)]
    first = await visitor.import_(*lines, repeat="one")
    again = await visitor.import_(*lines, repeat="one")
    assert first.json() == again.json()
    assert (await visitor.import_(*lines[1:], repeat="one")).status_code == 422


async def test_imports_that_race_for_a_code_agree_on_who_has_it(visitor):
    line = {"original_url": "https://a.example", "custom_code": "wanted"}
    replies = await asyncio.gather(*(visitor.import_("https://b.example", line) for _ in range(10)))
    outcomes = [reply.json()["links"][1]["outcome"] for reply in replies]
    assert sorted(outcomes) == ["created"] + ["refused"] * 9


async def test_an_import_with_a_lifetime_gives_it_to_every_line(visitor):
    made = (await visitor.import_("https://a.example", expires_days=1)).json()
    listed = await visitor.client.get("/api/links", headers=bearer(made["manage_key"]))
    assert listed.json()["items"][0]["expires_at"] == "2027-01-16T08:00:00Z"


# The command


@pytest.fixture
def bastide(visitor):
    """`await bastide("import", FILE)`, as its parser and its client would have it."""
    from argparse import ArgumentParser

    async def run(name: str, *words: str) -> None:
        command: Command = next(c for c in COMMANDS if c.name == name)
        parser = ArgumentParser()
        command.declare(parser)
        await command.run(visitor.client, parser.parse_args(words))

    return run


@pytest.mark.box("shortener.import")
async def test_the_command_reports_duplicates_and_bad_lines_by_number(bastide, tmp_path, capsys):
    file = tmp_path / "links.txt"
    file.write_bytes(
        b"https://a.example\n\nhttps://b.example bee\r\nftp://c.example\nhttps://a.example/\n"
        b"https://d.example/\xff\nhttps://e.example/a,b\tbee\nhttps://f.example/" + b"f" * 2048
    )
    await bastide("import", str(file))
    said = capsys.readouterr().out.splitlines()
    code = re.search(r"http://localhost/shortener/(\S+)$", said[2]).group(1)
    assert re.fullmatch(r"manage key: [0-9A-Za-z]{22}", said[0])
    assert said[1:] == [
        "line 4: an address begins with http:// or https://",
        f"line 5: duplicate of line 1, http://localhost/shortener/{code}",
        "line 6: it is not UTF-8",
        "line 7: the code 'bee' is already taken",
        "line 8: longer than 2048 characters",
        "made: 2, duplicates: 1, bad lines: 4",
    ]


@pytest.mark.box("shortener.import")
@pytest.mark.parametrize("point", ["sql.before_commit", "sql.after_commit"])
async def test_an_interrupted_import_goes_on_under_the_same_key(point, tmp_path, capsys):
    """Its third commit fails, or its answer is lost; run again, nothing is there twice."""
    from argparse import Namespace

    from bastide.testing.town import raised

    file = tmp_path / "links.txt"
    file.write_text("".join(f"https://example.com/{n}\n" for n in range(1000)))
    command = next(c for c in COMMANDS if c.name == "import")
    arguments = Namespace(file=file, key=None, days=None)
    environ = {"BASTIDE_SQL_URL": "sqlite://"}
    async with raised("shortener", environ=environ, data=tmp_path / "town") as town:
        client = await town.client("shortener")
        answered = []

        async def count(reply) -> None:
            answered.append(reply.status_code)

        def third_fails() -> None:  # and what else commits then, as the workers do
            if len(answered) == 2:
                failing(OSError(5, "lost"))()

        client.event_hooks["response"] = [count]
        with armed(point, third_fails), pytest.raises(Unavailable):
            await command.run(client, arguments)
        begun = capsys.readouterr().out.splitlines()
        await command.run(client, arguments)
        done = capsys.readouterr().out.splitlines()
        assert done == [begun[0], "made: 1000, duplicates: 0, bad lines: 0"]
        key, urls, query = begun[0].removeprefix("manage key: "), [], {"limit": "100"}
        while True:
            page = (await client.get("/api/links", params=query, headers=bearer(key))).json()
            urls += [link["original_url"] for link in page["items"]]
            if page["next"] is None:
                break
            query["cursor"] = page["next"]
    assert sorted(urls) == sorted(f"https://example.com/{n}" for n in range(1000))


@pytest.mark.box("shortener.import")
async def test_real_home_pages_are_imported_and_lead_where_they_should(bastide, visitor, capsys):
    """2,000 of the home pages of Debian's packages."""
    lines = HOMEPAGES.read_text().splitlines()
    await bastide("import", str(HOMEPAGES))
    said = capsys.readouterr().out.splitlines()
    bad = [int(n) for n in re.findall(r"line (\d+): an address begins", "\n".join(said))]
    assert {lines[n - 1].partition(":")[0] for n in bad} <= {"ftp", "gopher"}
    query, seen = {"limit": "100"}, {}
    key = said[0].removeprefix("manage key: ")
    while True:
        reply = await visitor.client.get("/api/links", params=query, headers=bearer(key))
        page = reply.json()
        seen |= {link["original_url"]: link["short_code"] for link in page["items"]}
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    kept = sum(url in seen for url in lines)
    assert kept >= len(lines) - len(bad) - 40  # a few are written anew: case, ports, escapes
    for url, code in list(seen.items())[::20]:
        assert (await visitor.follow(code)).headers["location"] == url


async def test_the_commands_make_count_and_list(bastide, visitor, capsys):
    await bastide("shorten", "https://a.example", "--code", "mine")
    said = capsys.readouterr()
    assert said.out == "http://localhost/shortener/mine\n"
    key = said.err.removeprefix("manage key: ").strip()
    await visitor.follow("mine")
    await bastide("stats", "mine", "--key", key)
    assert capsys.readouterr().out == "clicks: 1, by bots: 0\n"
    for n in range(105):
        await visitor.made(f"https://example.com/{n}", key=key)
    await bastide("list", "--key", key)
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 106
    assert listed[-1] == "http://localhost/shortener/mine\t1\thttps://a.example"


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("shorten", "javascript:alert(1)"), Invalid),
        (("stats", "nothing", "--key", "0" * 22), NotFound),
        (("list", "--key", "password"), Denied),
        (("import", "/nothing/is/here"), Invalid),
    ],
)
async def test_a_refusal_keeps_its_kind_for_the_exit_code(words, kind, bastide):
    with pytest.raises(kind):
        await bastide(*words)
