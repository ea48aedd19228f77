"""Each habit that tidy keeps: broken once in a small tree, and seen; kept beside it, and not."""

from pathlib import Path

import pytest

from tools import tidy
from tools.new_system import make

ONE = "src/bastide/engines/one"


def seen(root: Path, **files: str) -> list[str]:
    """What tidy says of a tree of these files, and those written there before."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return [finding.message for finding in tidy.check(root)]


def test_a_file_of_600_lines_is_read_and_one_more_is_not(tmp_path: Path) -> None:
    assert seen(tmp_path, **{"src/bastide/base/a.py": "\n" * 600}) == []
    [message] = seen(tmp_path, **{"src/bastide/base/a.py": "\n" * 601})
    assert "601 lines" in message


def test_a_function_has_at_most_60_lines(tmp_path: Path) -> None:
    function = "def f() -> None:\n" + "    f()\n" * 59
    assert seen(tmp_path, **{"tests/test_a.py": function}) == []
    [message] = seen(tmp_path, **{"tests/test_a.py": function + "    f()\n"})
    assert "f has 61 lines" in message


def test_a_class_has_at_most_20_verbs_and_private_ones_are_not_counted(tmp_path: Path) -> None:
    verbs = "class Large:\n" + "".join(f"    def v{n}(self): ...\n" for n in range(20))
    private = "    def _v(self): ...\n"
    assert seen(tmp_path, **{"src/bastide/base/a.py": verbs + private}) == []
    [message] = seen(tmp_path, **{"src/bastide/base/a.py": verbs + "    def v(self): ...\n"})
    assert "Large has 21 verbs" in message


BROKEN = {
    "a stray room": (f"{ONE}/stray.py", "", "no room of a system"),
    "a name that says nothing": ("src/bastide/base/utils.py", "", "says nothing"),
    "the machine's date": (f"{ONE}/service.py", "x = datetime.now(UTC)", "clock and chance"),
    "the machine's chance": (f"{ONE}/service.py", "x = uuid.uuid4()", "clock and chance"),
    "an opened file": (f"{ONE}/service.py", "x = open('a')", "opens a file"),
    "a file opened below": ("src/bastide/parts/one/a.py", "x = os.open('a', 0)", "opens a file"),
    "a file read": (f"{ONE}/api.py", "x = Path('a').read_text()", "opens a file"),
    "a label that grows": (f"{ONE}/service.py", "m.counter('a', 'b', user='7')", "the label user"),
    "noqa for anything": ("tests/test_a.py", "x = 1  # noqa", "`noqa` needs its codes"),
    "noqa without a reason": ("tests/test_a.py", "x = 1  # noqa: S101", "`noqa` needs its codes"),
    "ignore for anything": ("tools/a.py", "x = 1  # type: ignore", "needs its code"),
    "ignore without a reason": ("tools/a.py", "x = 1  # type: ignore[misc]", "needs its code"),
    "something unfinished": ("src/bastide/base/a.py", "x = 1  # TODO: more", "finish it"),
    "a skip": ("tests/test_a.py", "@pytest.mark.skip\ndef test(): ...", "without a reason"),
    "a skip called": ("tests/test_a.py", "@pytest.mark.skip()\ndef test(): ...", "a reason"),
    "a skip inside": ("tests/test_a.py", "def test():\n    pytest.skip()", "without a reason"),
    "a skip by condition": ("tests/test_a.py", "pytest.mark.skipif(True)", "without a reason"),
    "Any in a contract": (f"{ONE}/contract.py", "def f(a: list[Any]): ...", "`Any` in a contract"),
    "a verb without a word": (
        f"{ONE}/contract.py",
        "class One(Protocol):\n    def f(self): ...",
        "the verb f of a contract has no docstring",
    ),
    "a second path to a name": ("src/bastide/base/a.py", "__all__ = ['a']", "`__all__`"),
    "a box that no README has": (
        "tests/test_a.py",
        "@pytest.mark.box('one.gone')\ndef test(): ...",
        "no README has the box `one.gone`",
    ),
    "a part's table": (
        "src/bastide/parts/holds/tables.py",
        "t = Table('claims', m)",
        "a part's tables begin with its name",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_tidy_sees(what: str, tmp_path: Path) -> None:
    path, text, said = BROKEN[what]
    system = {f"{ONE}/manifest.py": "", f"{ONE}/README.md": _README} if ONE in path else {}
    found = seen(tmp_path, **system, **{path: text})
    assert [message for message in found if said in message] == found != []


KEPT = {
    "the town's clock": (f"{ONE}/service.py", "x = runtime.now_ms()"),
    "a disk of rt": (f"{ONE}/service.py", "x = disk.open(path)"),
    "files in rt": ("src/bastide/base/rt/disk.py", "x = os.open('a', 0)"),
    "files and dates in a backend": (
        f"{ONE}/backends/postgres.py",
        "x = open('a'), datetime.now(UTC)",
    ),
    "files that a command reads": (f"{ONE}/commands.py", "x = open('a')"),
    "labels that are few": (f"{ONE}/service.py", "m.counter('a', 'b', verb='c', **labels)"),
    "noqa with its reason": ("tests/test_a.py", "x = 1  # noqa: S101, B008 (it is meant)"),
    "ignore with its reason": ("tools/a.py", "x = 1  # type: ignore[misc] # it is meant"),
    "a skip with its reason": ("tests/test_a.py", "pytest.mark.skipif(True, reason='no disk')"),
    "a skip that says why": ("tests/test_a.py", "pytest.skip('no disk')"),
    "Any below a contract": (f"{ONE}/service.py", "def f(a: list[Any]): ..."),
    "a part's own table": ("src/bastide/parts/holds/tables.py", "t = Table('holds_claims', m)"),
    "a box": ("tests/test_a.py", "@pytest.mark.box('one.stays')\ndef test(): ..."),
}


@pytest.mark.parametrize("what", KEPT)
def test_tidy_lets_be(what: str, tmp_path: Path) -> None:
    path, text = KEPT[what]
    files = {f"{ONE}/manifest.py": "", f"{ONE}/README.md": _README, path: text}
    assert seen(tmp_path, **files) == []


def test_a_box_is_ticked_only_where_a_test_bears_its_name(tmp_path: Path) -> None:
    ticked = f"{_README}\n- [ ] `one.later` Later.\n- [x] `one.gone` Gone.\n"
    [message] = seen(tmp_path, **{f"{ONE}/README.md": ticked, f"{ONE}/manifest.py": ""})
    assert message == "no test is marked with the ticked box `one.gone`"
    assert seen(tmp_path, **{"tests/a.py": "@pytest.mark.box('one.gone')\ndef f(): ..."}) == []


def test_sql_names_no_table_of_another_system(tmp_path: Path) -> None:
    tables = {
        f"{ONE}/tables.py": "LINKS = Table('links', metadata)",
        f"{ONE}/service.py": "x = 'SELECT * FROM links'",
        f"{ONE}/manifest.py": "",
        f"{ONE}/README.md": _README,
    }
    assert seen(tmp_path, **tables) == []
    two = {"manifest.py": "", "README.md": _README, "service.py": "x = 'SELECT 1 FROM links l'"}
    found = seen(tmp_path, **{f"src/bastide/apps/two/{k}": v for k, v in two.items()})
    assert found == ["links is a table of one"]


@pytest.mark.parametrize("heading", tidy.HEADINGS)
def test_a_readme_has_every_heading(heading: str, tmp_path: Path) -> None:
    text = _README.replace(f"## {heading}\n", "")
    [message] = seen(tmp_path, **{f"{ONE}/README.md": text, f"{ONE}/manifest.py": ""})
    assert "its headings are, in this order" in message


def test_a_readme_has_its_headings_in_their_order(tmp_path: Path) -> None:
    text = _README.replace("## What\n", "") + "## What\n"
    [message] = seen(tmp_path, **{f"{ONE}/README.md": text, f"{ONE}/manifest.py": ""})
    assert "its headings are, in this order" in message


def test_a_system_has_a_manifest_and_a_readme(tmp_path: Path) -> None:
    found = seen(tmp_path, **{f"{ONE}/service.py": ""})
    assert len(found) == 2
    assert found[0] == "a system without a manifest"


def test_a_finding_is_printed_with_its_place_and_ends_with_1(tmp_path: Path, capsys) -> None:
    seen(tmp_path, **{"tools/a.py": "\nx = 1  # noqa\n"})
    assert tidy.main([str(tmp_path)]) == 1
    assert capsys.readouterr().out.startswith("tools/a.py:2: `noqa`")


def test_a_tidy_tree_ends_with_0_and_says_nothing(tmp_path: Path, capsys) -> None:
    (tmp_path / "src/bastide").mkdir(parents=True)
    (tmp_path / "src/bastide/systems.py").write_text('S = (\n    "bastide.apps.console",\n)\n')
    make(tmp_path, "engines", "one", "A small one.")
    assert tidy.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == ""


_README = "# one\n`one.stays`\n" + "".join(f"## {heading}\n" for heading in tidy.HEADINGS)
