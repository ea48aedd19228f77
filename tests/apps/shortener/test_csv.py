"""CSV of links: other shorteners' exports, as documented, and ours, there and back."""

import csv
import io
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.apps.shortener.contract import TARGET_CHARACTERS_MAX, VISITS_MAX, CsvWrong
from bastide.apps.shortener.core.codes import is_code
from bastide.apps.shortener.core.exports import (
    CELL_CHARACTERS_MAX,
    COLUMNS_MAX,
    HEADER,
    ExportedRow,
    GivenRow,
    csv_line,
    header_line,
    read_csv,
)
from bastide.base.instants import instant_of, text_of

EXPORTS = Path(__file__).with_name("exports")
INPUT_BYTES_MAX = 4 << 20


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def refused(data: bytes) -> str:
    with pytest.raises(CsvWrong) as found:
        read_csv(data)
    return str(found.value)


def row(**facts) -> ExportedRow:
    plain = {
        "short_code": "abc",
        "short_url": "https://sho.rt/abc",
        "original_url": "https://example.com/",
        "title": "",
        "tags": (),
        "created_at_ms": 0,
        "expires_at_ms": 0,
        "visits_max": 0,
        "disabled": False,
        "permanent": False,
        "rules": "",
        "total_clicks": 0,
        "bot_clicks": 0,
    }
    return ExportedRow(**{**plain, **facts})


# What other shorteners export

AS_EXPORTED = {
    "bitly.csv": [
        GivenRow(
            line=2,
            address="https://shop.example.com/sale?campaign=spring",
            code="Spring-Sale",
            title='Spring sale, "all" of it',
        ),
        GivenRow(
            line=3, address="https://blog.example.com/archive", code="3xYz", title="On two lines"
        ),
        GivenRow(line=5, address="https://blog.example.com/more"),
    ],
    "bitly-api.csv": [
        GivenRow(
            line=2,
            address="https://shop.example.com/sale",
            code="4fT9aQ2",
            title="Sale",
            tags=("news", "spring"),
        )
    ],
    "yourls.csv": [
        GivenRow(line=2, address="https://ozh.org/", code="ozh", title="planetOZH!"),
        GivenRow(
            line=3, address="https://yourls.org/?a=1,2", title='YOURLS: "Your Own URL Shortener"'
        ),
    ],
    "yourls-unnamed.tsv": [
        GivenRow(line=1, address="https://ozh.org/", code="ozh", title="planetOZH!"),
        GivenRow(line=2, address="https://yourls.org/", code="yourls", title="YOURLS"),
    ],
    "yourls-plugin.csv": [
        GivenRow(line=2, address="https://ozh.org/", code="ozh"),
        GivenRow(line=3, address="https://yourls.org/?a=1,2", code="long-name"),
    ],
    "kutt.csv": [
        GivenRow(
            line=2,
            address="https://example.com/launch",
            code="launch",
            title="The launch",
            expires_at_ms=ms("2027-03-01T12:30:00Z"),
        ),
        GivenRow(line=3, address="https://example.com/b", code="x7Kq2p"),
        GivenRow(line=4, reason="it asks for a password, which no link does here"),
    ],
    "shlink.csv": [
        GivenRow(
            line=2,
            address="https://example.com/fall",
            code="fall",
            title="Fall",
            tags=("news", "fall leaves"),
        ),
        GivenRow(line=3, address="https://example.com/api"),
    ],
    "shlink-importer.csv": [
        GivenRow(
            line=2,
            address="https://example.com/fall",
            code="fall",
            title="Fall",
            tags=("foo", "bar"),
        )
    ],
    "dub.csv": [
        GivenRow(line=2, address="https://dub.co/?via=a", code="try", tags=("@launch", "spring")),
        GivenRow(line=3, address="https://example.com/deep"),
    ],
    "shortio.csv": [
        GivenRow(
            line=2,
            address="https://example.com/launch",
            code="LaunchCase",
            title='Release, "wave 1"',
            tags=("marketing", "launch"),
            expires_at_ms=ms("2027-05-01T08:00:00Z"),
        ),
        GivenRow(line=3, address="https://example.com/evergreen", code="evergreen"),
    ],
    "rebrandly.csv": [
        GivenRow(
            line=2,
            address="https://example.com/spider",
            code="burn10M",
            title="The LaFerrari Supercar",
        )
    ],
    "ours.csv": [
        GivenRow(
            line=2,
            address="https://example.com/",
            code="-dash",
            title="=SUM(1)",
            tags=("news", "spring"),
            expires_at_ms=ms("2027-11-21T10:00:00.250Z"),
            permanent=True,
        ),
        GivenRow(
            line=3,
            address="https://example.com/2",
            code="-dash2",
            title='a; "b"',
            expires_at_ms=ms("2027-11-21T10:00:00Z"),
            visits_max=100,
            disabled=True,
            rules='[{"when":{"device":["mobile"]},"original_url":"https://m.example.com/"}]',
        ),
    ],
    "list.txt": [
        GivenRow(line=1, address="https://a.example/"),
        GivenRow(line=3, address="https://b.example/x,y", code="bee"),
        GivenRow(line=4, address="https://c.example/", code="sea"),
    ],
}


@pytest.mark.parametrize("name", AS_EXPORTED)
def test_an_export_is_read_as_its_exporter_means_it(name):
    assert read_csv((EXPORTS / name).read_bytes()) == AS_EXPORTED[name]


def test_every_sample_is_one_that_is_tested():
    assert {path.name for path in EXPORTS.iterdir()} == set(AS_EXPORTED)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", ["bitly.csv", "shlink.csv", "dub.csv", "ours.csv"])
def test_spreadsheets_save_it_anew_in_their_own_way(name, encoding, end, delimiter):
    out = io.StringIO()
    cells = csv.reader(io.StringIO((EXPORTS / name).read_text(), newline=""))
    csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(cells)
    assert read_csv(out.getvalue().encode(encoding)) == AS_EXPORTED[name]


@pytest.mark.parametrize("name", ["bitly.csv", "kutt.csv", "shortio.csv", "ours.csv"])
def test_columns_are_known_by_name_in_any_order_and_case(name):
    out = io.StringIO()
    rows = list(csv.reader(io.StringIO((EXPORTS / name).read_text(), newline="")))
    rows[0] = [f" {cell.upper()} " for cell in rows[0]]
    csv.writer(out).writerows([cells[::-1] for cells in rows])
    assert read_csv(out.getvalue().encode()) == AS_EXPORTED[name]


@pytest.mark.parametrize(
    ("link", "code"),
    [
        ("https://bit.ly/AbC-1_2", "AbC-1_2"),
        ("bit.ly/abc", "abc"),
        ("https://bit.ly/abc/?x=/y", "abc"),
        ("https://bit.ly/abc#/y", "abc"),
        ("https://bit.ly/" + "a" * 32, "a" * 32),
        ("https://bit.ly/" + "a" * 33, ""),
        ("https://bit.ly/ab", ""),
        ("https://bit.ly/b%C3%BCcher", ""),
        ("https://bit.ly/bücher", ""),
        ("https://bit.ly", ""),
        ("https://bit.ly/", ""),
        ("https://[bit.ly/abc", "abc"),
        ("https://bit.ly/abc?to=https://example.com/other", "abc"),
        ("https://bit.ly/?to=https://example.com/other", ""),
        ("a/abc", ""),
        ("a/b/abc", ""),
        ("", ""),
    ],
)
def test_a_code_is_taken_from_a_short_link_if_it_has_our_form(link, code):
    given = read_csv(f"link,long_url\n{link},https://example.com/\n".encode())
    assert [one.code for one in given] == [code]


def test_what_somebody_wrote_by_hand_is_taken_too():
    text = "URL;Code;Expires at\nhttps://example.com/;mine;2027-01-02\nhttps://example.com/b\n"
    assert read_csv(text.encode()) == [
        GivenRow(
            line=2,
            address="https://example.com/",
            code="mine",
            expires_at_ms=ms("2027-01-02T00:00:00Z"),
        ),
        GivenRow(line=3, address="https://example.com/b"),
    ]


def test_a_title_of_a_web_page_is_made_one_that_we_take():
    title = "Two\r\nlines\u00a0and\u200b a tab\t" + "x" * 300
    given = read_csv(f'url,title\nhttps://example.com/,"{title}"\n'.encode())[0]
    assert given.title.startswith("Two lines and a tab xxx")
    assert given.title.endswith("x…")
    assert len(given.title) == 200
    assert given.title.isprintable()


# What a row has to be


def test_lines_are_those_of_the_file_whatever_stands_between():
    text = 'url,title\r\n\r\n,,\r\nhttps://a.example/,"one\r\n\r\ntwo"\r\n\rhttps://b.example/,\r\n'
    assert [one.line for one in read_csv(text.encode())] == [4, 8]


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ("code,", "it has no long address"),
        ("code", "it has no long address"),
        ("code,https://a.example/,title,,end", "5 cells under 4 names"),
        ("code,https://a.example/,title,21.11.2026", "its end '21.11.2026' is no date that is"),
        ("code,https://a.example/,title,2026-02-29", "its end '2026-02-29' is no date that is"),
    ],
)
def test_a_row_that_can_not_be_sent_says_why_and_the_others_stay(cells, reason):
    text = f"code,url,title,expires_at\n{cells}\nokay,https://b.example/,,NULL,,\n"
    bad, good = read_csv(text.encode())
    assert bad.line == 2
    assert bad.reason.startswith(reason)
    assert good == GivenRow(line=3, address="https://b.example/", code="okay")


@pytest.mark.parametrize("head", ["", "url\n"])
@pytest.mark.limit("shortener.TARGET_CHARACTERS_MAX")
def test_an_address_of_2048_characters_is_sent_and_a_longer_one_is_not(head):
    longest = "https://example.com/".ljust(TARGET_CHARACTERS_MAX, "a")
    good, bad = read_csv(f"{head}{longest}\n{longest}a\n".encode())
    assert (good.address, good.reason) == (longest, "")
    assert (bad.address, bad.reason) == ("", "longer than 2048 characters")


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"visits_max": str(VISITS_MAX)}, ""),
        ({"visits_max": str(VISITS_MAX + 1)}, "visits_max is"),
        ({"visits_max": "-1"}, "visits_max is"),
        ({"visits_max": "9" * 5000}, "visits_max is"),
        ({"visits_max": "²"}, "visits_max is"),
        ({"disabled": "TRUE", "permanent": "FALSE"}, ""),
        ({"disabled": "maybe"}, "disabled and permanent are"),
        ({"rules": "[]"}, ""),
        ({"rules": "{}"}, "rules are"),
        ({"rules": "["}, "rules are"),
        ({"rules": "[" * 100_000}, "rules are"),
    ],
)
@pytest.mark.limit("shortener.VISITS_MAX")
def test_what_only_our_files_have_is_checked(facts, reason):
    cells = dict.fromkeys(HEADER, "") | {"short_code": "abc", "original_url": "https://a.example/"}
    out = io.StringIO()
    csv.writer(out).writerow((cells | facts).values())
    given = read_csv((header_line() + out.getvalue()).encode())[0]
    assert given.reason.startswith(reason)
    assert bool(given.address) == (not reason)


def test_our_file_is_still_ours_after_columns_were_deleted_from_it():
    text = "short_code,original_url,title,visits_max\nabc,https://a.example/,'=1,5\n"
    given = GivenRow(line=2, address="https://a.example/", code="abc", title="=1", visits_max=5)
    assert read_csv(text.encode()) == [given]


def test_only_our_files_and_dubs_have_their_guards_taken_off():
    assert read_csv(b"url,title\nhttps://a.example/,'=1\n")[0].title == "'=1"


# What is no such file


def test_a_table_without_rows_has_none():
    assert read_csv(header_line().encode()) == []
    assert read_csv(b"\xef\xbb\xbfurl") == []


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\r\n \n\t\r"])
def test_an_empty_file_is_refused(data):
    assert refused(data) == "there is nothing in it"


@pytest.mark.parametrize("data", [b"url\n\0", "url\nhttps://a.example/".encode("utf-16-le")])
def test_a_nul_is_refused(data):
    assert refused(data) == "it is no text: there is a NUL in it"


def test_a_picture_is_refused():
    refused(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    refused(b"\x1f\x8b\x08" + bytes(range(1, 256)) * 9)


def test_utf_16_that_is_cut_off_is_refused():
    assert "UTF-16" in refused("url\nhttps://a.example/".encode("utf-16")[:-1])


def test_a_table_that_is_not_utf_8_is_refused_with_the_line():
    assert refused("url,title\r\n\r\nhttps://a.example/,Bücher".encode("cp1252")) == (
        "line 3 is not UTF-8"
    )


@pytest.mark.parametrize("data", [b"Name,Web\nx,https://a.example/", b"link\nhttps://bit.ly/abc"])
def test_a_table_without_a_column_of_long_addresses_is_refused(data):
    if data.startswith(b"Name"):
        assert refused(data).startswith("'Name,Web' names no column that is known")
    else:  # a word, and then addresses: a list, whose first line the town refuses
        assert [one.address for one in read_csv(data)] == ["link", "https://bit.ly/abc"]


@pytest.mark.parametrize(
    "rest", ['https://a.example/,"open\nhttps://b.example/,\n', 'https://a.example/,"a" b\n']
)
def test_quotes_that_do_not_match_refuse_the_whole_table(rest):
    assert refused(f"url,title\nhttps://0.example/,\n{rest}".encode()).startswith(
        "line 3: its quotes don't match"
    )


def test_a_list_that_is_not_utf_8_loses_only_those_lines():
    given = read_csv(b"https://a.example/\nhttps://b.example/\xff\nhttps://c.example/\n")
    assert [one.reason for one in given] == ["", "it is not UTF-8", ""]


@pytest.mark.parametrize("text", ["https://a.example/\n" * 4, "url\n" + "https://a.example/\n" * 4])
def test_as_many_rows_as_asked_for_are_taken_and_one_more_is_refused(text):
    assert len(read_csv(text.encode(), rows_max=4)) == 4
    with pytest.raises(CsvWrong, match="more than 3 links"):
        read_csv(text.encode(), rows_max=3)


def test_a_cell_of_a_mebi_is_taken_and_a_larger_one_is_not():
    text = 'url,title\nhttps://a.example/,"{}"\n'
    assert read_csv(text.format("x" * CELL_CHARACTERS_MAX).encode())[0].title.startswith("xxx")
    assert "line 2" in refused(text.format("x" * (CELL_CHARACTERS_MAX + 1)).encode())


def test_a_name_is_looked_for_in_the_first_200_columns():
    fits, too_far = ("," * (n - 1) + "url\n" for n in (COLUMNS_MAX, COLUMNS_MAX + 1))
    assert read_csv(fits.encode()) == []
    assert "names no column" in refused(too_far.encode())


@pytest.mark.parametrize(
    "data",
    [
        b"\n" * INPUT_BYTES_MAX,
        b"," * INPUT_BYTES_MAX,
        b'"' * INPUT_BYTES_MAX,
        b'"\n' * (INPUT_BYTES_MAX // 2),
        b"url\n" + b'"' + b"\n" * (INPUT_BYTES_MAX - 5),
        b"url\n" + b"," * (INPUT_BYTES_MAX - 4),
        b"url\n" + b"/" * (INPUT_BYTES_MAX - 4),
        b"https://" + b" " * (INPUT_BYTES_MAX - 8),
        b"short_code,original_url,title\n," + b"'" * (CELL_CHARACTERS_MAX - 1) + b",",
        b"link,long_url,tags\n" + b"?#/" * 300_000 + b",x," + b"a|," * 300_000,
    ],
)
def test_no_file_takes_more_than_a_moment(data):
    """Any of these would take minutes if the time grew with its square."""
    began = time.process_time()
    with suppress(CsvWrong):
        read_csv(data, rows_max=50_000)
    assert time.process_time() - began < 10


@given(
    st.binary(max_size=300) | st.text(alphabet=",;\t\"'\r\n=-a:/l", max_size=200).map(str.encode)
)
def test_whatever_is_given_is_read_or_refused(data):
    for head in (b"", b"url,title\n", b"original_url;short_code;rules;expires_at\n"):
        try:
            given = read_csv(head + data)
        except CsvWrong:
            continue
        assert all(bool(one.reason) != bool(one.address) for one in given)
        assert [one.line for one in given] == sorted({one.line for one in given})


# Ours, there and back

printable = st.text(
    alphabet=st.characters(exclude_categories=("C", "Zl", "Zp", "Zs"))
    | st.sampled_from(" '=+-@,;\""),
    max_size=40,
).map(str.strip)
formulas = st.sampled_from(
    ["NULL", "\\N", "=1+1", "+1", "-1", "@SUM(A1)", "'=1", "''=1", "'", "'90s", "\uff1d1"]
)
titles = printable | formulas | st.builds(str.__add__, formulas, printable)
labels = titles.map(lambda text: text.replace(",", "").strip()).filter(bool)
instants = st.integers(0, 4_000_000_000_000)
exported = st.builds(
    ExportedRow,
    short_code=st.from_regex(r"[A-Za-z0-9_-]{3,32}", fullmatch=True),
    short_url=st.just("https://sho.rt/abc"),
    original_url=titles.map(lambda text: f"https://example.com/{text}".strip()),
    title=titles,
    tags=st.lists(labels, unique=True, max_size=4).map(tuple),
    created_at_ms=instants,
    expires_at_ms=instants,
    visits_max=st.integers(0, VISITS_MAX),
    disabled=st.booleans(),
    permanent=st.booleans(),
    rules=st.sampled_from(["", "[]", '[{"when":{"query":{"a":"\\"\\n,"}},"target":"x"}]']),
    total_clicks=st.integers(0, 1 << 63),
    bot_clicks=st.integers(0, 1 << 63),
)


@given(st.lists(exported, max_size=5))
def test_what_we_write_we_read_again(rows):
    text = header_line() + "".join(map(csv_line, rows))
    assert read_csv(text.encode()) == [
        GivenRow(
            line=n,
            address=one.original_url,
            code=one.short_code,
            title=one.title,
            tags=tuple(one.tags),
            expires_at_ms=one.expires_at_ms,
            visits_max=one.visits_max,
            disabled=one.disabled,
            permanent=one.permanent,
            rules=one.rules,
        )
        for n, one in enumerate(rows, start=2)
    ]


@given(exported)
def test_no_cell_that_we_write_is_a_formula(one):
    """OWASP, "CSV Injection": cells that begin with = + - @, a tab or a carriage return."""
    (cells,) = csv.reader(io.StringIO(csv_line(one), newline=""))
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")]
    assert len(cells) == len(HEADER)


@given(exported)
def test_what_we_write_is_rfc_4180_by_another_reader(one):
    text = header_line() + csv_line(one)
    assert text.endswith("\r\n")
    (read,) = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    assert read["total_clicks"] == str(one.total_clicks)
    assert read["title"].removeprefix("'").endswith(one.title.removeprefix("'"))
    assert read["tags"].endswith(",".join(one.tags))
    assert datetime.fromisoformat(read["created_at"]) == at(one.created_at_ms)


@pytest.mark.parametrize("ms", [0, 1, 999, 1_000, 1_795_255_200_250])
def test_an_instant_is_written_as_rfc_3339(ms):
    line = csv_line(row(created_at_ms=ms))
    cell = next(csv.reader([line]))[HEADER.index("created_at")]
    assert cell.endswith("Z")
    assert datetime.fromisoformat(cell) == at(ms)


# Instants, against the standard library's


def at(ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)


@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)))
def test_instants_are_those_of_the_standard_library(moment):
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
    found = instant_of(moment.isoformat())
    assert found is not None
    assert at(found) == moment
    assert datetime.fromisoformat(text_of(found)) == moment


@given(st.dates(), st.integers(0, 99))
def test_days_that_the_calendar_does_not_have_are_none(date, day):
    text = f"{date.year:04}-{date.month:02}-{day:02}"
    try:
        expected = ms(f"{text}T00:00:00Z") if date.year > 1 else None
    except ValueError:
        expected = None
    if date.year > 1:
        assert instant_of(text) == expected


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-11-21", "2026-11-21T00:00:00Z"),
        ("2026-11-21 10:00", "2026-11-21T10:00:00Z"),
        ("2026-11-21 10:00:05+00", "2026-11-21T10:00:05Z"),
        ("2026-11-21 10:00:05.25 UTC", "2026-11-21T10:00:05.250Z"),
        ("2026-11-21t10:00:05,123456z", "2026-11-21T10:00:05.123Z"),
        ("2026-11-21T01:00:00+0530", "2026-11-20T19:30:00Z"),
        ("2026-11-21T20:00:00-05:30", "2026-11-22T01:30:00Z"),
        ("2024-02-29", "2024-02-29T00:00:00Z"),
    ],
)
def test_dates_are_read_as_exporters_write_them(text, same):
    found = instant_of(text)
    assert found is not None
    assert text_of(found) == same


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "2026",
            "2026-13-01",
            "2026-00-01",
            "2023-02-29",
            "2026-11-21T24:00",
            "\uff12026-11-21",
        ),
        *("2026-11-21T10:60", "2026-11-21T10:00:60", "tomorrow", "2026-11-21T10:00:00 CET"),
    ],
)
def test_what_is_no_date_is_none(text):
    assert instant_of(text) is None


def test_a_code_that_is_read_is_one_that_we_take():
    for name in AS_EXPORTED:
        given = read_csv((EXPORTS / name).read_bytes())
        assert all(is_code(one.code) for one in given if one.code)
