"""Every check of the scale catches a system that misses it; a level needs all of those below."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bastide.base.errors import Refusal
from bastide.base.levels import Rating
from bastide.base.manifest import Manifest, Miswired
from bastide.engines.ids import tables
from bastide.engines.sql import contract
from bastide.engines.sql.contract import Migrations
from bastide.town import manifests
from tools import new_system, quality, record
from tools.record import Ran, Record
from tools.tidy import Finding

[SQL] = manifests(["sql"])
FOLDER = Path("src/bastide/engines/sql")
SUITE = "tests/engines/sql/test_contract.py::test_a[{}]"
SHOWS = ("client", "errors", "restart", "outage", "repeat", "watch")


class Told(quality.Tree):
    """A tree of which the programs say what they are told to: nothing, unless it is planted."""

    def __init__(self, root: Path, tests: Record, **planted: Any) -> None:
        super().__init__(root, tests)
        silent = {"findings": [], "docs": [], "imports": "", "types": ""}
        vars(self).update({**silent, **planted})

    def alone(self, manifest: Manifest) -> str:
        return str(vars(self).get("slow", ""))


def whole(root: Path) -> dict[str, Ran]:
    """All that sql's tests could show, one test for each."""
    text = (root / FOLDER / "README.md").read_text()
    names = vars(contract).items()
    errors = [n for n, e in names if isinstance(e, type) and issubclass(e, Refusal)]
    marks = [
        *(f"box {box}" for box in quality.boxes(SQL, text)),
        *(f"limit sql.{name}" for name, _ in names if name.endswith("_MAX")),
        *(f"shows sql.{check}" for check in SHOWS),
    ]
    return {
        **{mark: passed(marks=[mark]) for mark in marks},
        **{error: passed(refused=[f"sql.{error}"]) for error in errors},
        **{SUITE.format(scheme): passed() for scheme in ("sqlite", "memory", "postgres-1")},
        record.STORY.format("sql"): passed(),
    }


def passed(**shown: Sequence[str]) -> Ran:
    return Ran(outcome="passed", file="", **shown)


def test_a_system_that_passes_every_check_is_silver(root: Path) -> None:
    assert quality.rated(SQL, Told(root, Record(whole(root)))) == Rating(level="silver")


PLANTED: Mapping[str, Mapping[str, Any]] = {
    "shape": {"imports": "bastide.engines.sql.service -> bastide.engines.sql.api"},
    "typed": {"types": f"{FOLDER}/service.py:1: error: no"},
    "alone": {"slow": "it took 3.0 s"},
    "readme": {"docs": [f"{FOLDER}/README.md: a table is out of date"]},
    "tidy": {"findings": [Finding(Path("tests/engines/sql/test_a.py"), 1, "too long")]},
}
UNTESTED = {
    "story": record.STORY.format("sql"),
    "limits": "limit sql.SCANS_MAX",
    "must-do": "box sql.kill",
    "conformance": SUITE.format("postgres-1"),
    **{check: f"shows sql.{check}" for check in SHOWS},
}


@pytest.mark.parametrize("check", [*PLANTED, *UNTESTED])
def test_a_system_that_misses_one_check_is_caught(root: Path, check: str) -> None:
    tests = {name: ran for name, ran in whole(root).items() if name != UNTESTED.get(check)}
    rating = quality.rated(SQL, Told(root, Record(tests), **PLANTED.get(check, {})))
    assert list(rating.missed) == [check]
    assert rating.level == ("unrated" if check in quality.SCALE["bronze"] else "bronze")


def test_every_check_has_its_violation_here() -> None:
    assert {*PLANTED, *UNTESTED, "migrate"} == set(quality.CHECKS)


def test_an_error_that_no_test_meets_is_caught(root: Path) -> None:
    tests = {name: ran for name, ran in whole(root).items() if name != "RowsOver"}
    rating = quality.rated(SQL, Told(root, Record(tests)))
    assert rating.missed == {"errors": "no passed test raises RowsOver"}


def test_a_history_of_two_steps_needs_the_way_from_the_first(root: Path, monkeypatch) -> None:
    manifest = msgspec.structs.replace(SQL, migrations="bastide.engines.ids.tables:MIGRATIONS")
    tests = whole(root)
    for steps, missed in ((1, []), (2, ["migrate"])):
        monkeypatch.setattr(tables, "MIGRATIONS", Migrations(steps=[""] * steps))
        assert list(quality.rated(manifest, Told(root, Record(tests))).missed) == missed
    tests["migrate"] = passed(marks=["shows sql.migrate"])
    assert quality.rated(manifest, Told(root, Record(tests))).missed == {}


def test_any_in_a_contract_or_a_model_is_caught(copy: Path) -> None:
    with (copy / FOLDER / "model.py").open("a") as file:
        file.write("\nx: Any = 1\n")
    rating = quality.rated(SQL, Told(copy, Record(whole(copy))))
    assert rating.missed == {"typed": f"`Any` in {FOLDER}/model.py: name the type"}


@pytest.mark.parametrize(
    ("what", "said", "missed"),
    [
        ("types", "src/bastide/base/tx.py:1: error: no", ["typed"]),
        ("types", "mypy: it fell over", ["typed"]),
        ("types", "src/bastide/engines/ids/api.py:1: error: no", []),
        ("imports", "bastide.base.errors -> bastide.cli", ["shape"]),
        ("imports", quality.FELL_OVER, ["shape"]),
        ("imports", "bastide.engines.ids.core -> bastide.base.rt", []),
    ],
)
def test_what_is_wrong_below_all_systems_is_wrong_of_each(
    root: Path, what: str, said: str, missed: Sequence[str]
) -> None:
    assert (
        list(quality.rated(SQL, Told(root, Record(whole(root)), **{what: said})).missed) == missed
    )


@pytest.mark.parametrize(
    ("missed", "level"),
    [([], "silver"), (["watch"], "bronze"), (["tidy"], "unrated"), (["watch", "tidy"], "unrated")],
)
def test_a_level_needs_all_checks_of_the_lower_ones(missed: Sequence[str], level: str) -> None:
    assert quality.level_of(dict.fromkeys(missed, "to do")) == level


@pytest.mark.parametrize(("outcome", "shown"), [("failed", False), ("skipped", True)])
def test_one_failure_is_enough_and_a_skip_shows_nothing(outcome: Any, shown: bool) -> None:
    other = Ran(outcome=outcome, file="", marks=["box a.b"])
    assert Record({"one": passed(marks=["box a.b"]), "two": other}).shown("box a.b") is shown
    assert not Record({"two": other}).shown("box a.b")


@pytest.mark.parametrize("outcome", ["skipped", "failed"])
def test_a_backend_that_is_skipped_is_not_conforming(root: Path, outcome: Any) -> None:
    skipped = {SUITE.format("postgres-2"): Ran(outcome=outcome, file="")}
    rating = quality.rated(SQL, Told(root, Record({**whole(root), **skipped})))
    assert "on postgres: " in rating.missed["conformance"]


@pytest.mark.parametrize(
    ("what", "test"),
    [
        ("restart", "shows sql.restart"),
        ("sql.kill", "box sql.kill"),
        ("sql.RowsOver", "RowsOver"),
        ("sql.SCANS_MAX", "limit sql.SCANS_MAX"),
    ],
)
def test_what_can_not_apply_is_exempted_and_the_reason_shown(
    root: Path, what: str, test: str
) -> None:
    tests = whole(root)
    del tests[test]
    manifest = msgspec.structs.replace(SQL, exempt={what: "for a reason"})
    rating = quality.rated(manifest, Told(root, Record(tests)))
    assert rating == Rating(level="silver", exempt={what: "for a reason"})
    assert f"can't  {what}: for a reason" in "\n".join(quality.lines({"sql": rating}, told=1))


@pytest.mark.parametrize("exempt", [{"restart": ""}, {"resart": "a slip"}])
def test_an_exemption_needs_a_check_and_a_reason(exempt: Mapping[str, str]) -> None:
    with pytest.raises(Miswired, match="a check and a reason"):
        quality.exemptions(msgspec.structs.replace(SQL, exempt=exempt))


def test_a_system_opens_alone_within_its_time(root: Path, monkeypatch) -> None:
    tree = quality.Tree(root, Record({}))
    [console] = manifests(["console"])
    assert tree.alone(console) == ""
    assert tree.alone(SQL) == ""
    monkeypatch.setattr(quality, "ALONE_S_MAX", 0.0)
    monkeypatch.setattr(quality, "ALONE_TRIES", 1)
    assert "0.0 are given" in tree.alone(console)


def test_a_system_that_does_not_open_is_caught(copy: Path) -> None:
    with (copy / FOLDER / "manifest.py").open("a") as file:
        file.write('\nraise RuntimeError("planted")\n')
    assert "RuntimeError: planted" in quality.Tree(copy, Record({})).alone(SQL)


TESTS = """
import pytest
from bastide.engines.ids.contract import CountOver

@pytest.mark.box("ids.http")
def test_shown():
    with pytest.raises(CountOver):
        raise CountOver("planted")

@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.shows("ids.watch")
def test_half_shown(n):
    assert n == 1

@pytest.mark.limit("ids.BLOCK_MAX")
def test_skipped():
    pytest.skip("planted")
"""


MISSED = {check: f"do {check}" for check in ("story", "watch", "outage")}


def test_of_all_systems_the_next_gap_is_told_and_of_one_each() -> None:
    rating = Rating(level="unrated", missed=MISSED)
    overview = list(quality.lines({"sql": rating}, told=1))
    assert overview[1:] == ["    next   story: do story", "    then   watch, outage"]
    alone = list(quality.lines({"sql": rating}, told=len(quality.CHECKS)))
    assert alone[1:] == [f"    next   {check}: {todo}" for check, todo in MISSED.items()]


def test_a_system_that_is_being_built_is_told_what_it_misses(copy: Path, run) -> None:
    """Its manifest names rooms that are not there yet."""
    new_system.make(copy, "apps", "lion", "Mane.")
    folder = copy / "src/bastide/apps/lion"
    manifest = (folder / "manifest.py").read_text()
    named = 'migrations="bastide.apps.lion.tables:MIGRATIONS",\n    try_line='
    (folder / "manifest.py").write_text(manifest.replace("try_line=", named))
    (folder / "README.md").unlink()
    (folder / "api.py").unlink()
    ended = run(copy, "python", "-m", "bastide", "quality", "lion")
    assert ended.returncode == 0, ended.stderr
    told = ended.stdout
    assert told.startswith("lion: unrated, ")
    assert re.search(
        r"alone: bastide up --only lion: it did not open: .*lion\.api", told, re.DOTALL
    )
    assert "story: its README has no example" in told
    assert "readme: its headings are, in this order:" in told
    assert 'limits: no passed test bears mark.limit("lion.NAME_CHARS_MAX")' in told
    assert "must-do: its README has no acceptance list" in told
    assert "errors: no passed test raises NameWrong" in told
    assert "migrate: it could not be looked at: ModuleNotFoundError" in told


def test_what_ran_is_recorded(copy: Path, run) -> None:
    path = copy / "tests/test_planted.py"
    path.write_text(TESTS)
    assert "1 failed, 2 passed, 1 skipped" in run(copy, "pytest", str(path)).stdout
    found = record.read(copy)
    assert found.shown("box ids.http")
    assert found.refused("ids.CountOver")
    assert not found.shown("shows ids.watch")
    assert not found.shown("limit ids.BLOCK_MAX")


def test_several_runs_add_up_to_one_record(copy: Path, run) -> None:
    path = copy / "tests/test_planted.py"
    path.write_text(RUNS)
    shown = {"box ids.http": "not engine and not browser", "box ids.uuid7": "engine"}
    for at, words in enumerate(shown.values()):
        run(copy, "pytest", str(path), "-m", words)
        found = record.read(copy)
        assert [found.shown(mark) for mark in shown] == [True, at > 0]
    run(copy, "pytest", str(path), "-m", "browser")
    assert all(map(record.read(copy).shown, [*shown, "box ids.text"]))
    kept = record.read(copy).tests
    (copy / "engine_is_away").touch()
    assert "2 passed, 1 skipped" in run(copy, "pytest", str(path)).stdout
    assert record.read(copy).tests == kept, "a skip has told that the engine's test passed no more"


RUNS = """
from pathlib import Path
import pytest

@pytest.mark.box("ids.http")
def test_plain():
    pass

@pytest.mark.engine("postgres")
@pytest.mark.box("ids.uuid7")
def test_on_an_engine():
    if Path("engine_is_away").exists():
        pytest.skip("planted")

@pytest.mark.browser
@pytest.mark.box("ids.text")
def test_seen():
    pass
"""
BESIDE = "tests/engines/ids/kit_planted.py"
OUTDATED: Mapping[str, Callable[[Path], object]] = {
    "the test is gone": lambda root: (root / PLANTED_TEST).unlink(),
    "the test fails now": lambda root: append(root / PLANTED_TEST, "    assert False"),
    "its kit is another": lambda root: append(root / BESIDE, "N = 2"),
    "its kit is gone": lambda root: (root / BESIDE).unlink(),
    "a conftest above it is another": lambda root: append(root / "tests/conftest.py", "N = 2"),
    "its system is another": lambda root: append(root / "src/bastide/engines/ids/api.py", "N = 2"),
    "a system that it shows is another": lambda root: append(
        root / "src/bastide/apps/console/pages/static/console.css", "/* */"
    ),
}
PLANTED_TEST = "tests/engines/ids/test_planted.py"


def append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(f"{line}\n")


@pytest.mark.parametrize("change", OUTDATED)
def test_a_record_of_what_was_changed_since_keeps_no_claim(copy: Path, run, change: str) -> None:
    (copy / BESIDE).write_text("N = 1\n")
    (copy / PLANTED_TEST).write_text(
        'import pytest\n\n@pytest.mark.box("console.map")\ndef test_a():\n    pass\n'
    )
    run(copy, "pytest", PLANTED_TEST)
    assert record.read(copy).shown("box console.map")
    OUTDATED[change](copy)
    assert not record.read(copy).shown("box console.map")


def test_another_readme_needs_another_run_of_its_example(root: Path, copy: Path) -> None:
    name = record.STORY.format("ids")
    digest = record.Digests(copy).of(name, [])
    (copy / record.RECORD).write_bytes(
        msgspec.json.encode({name: Ran(outcome="passed", file=digest)})
    )
    assert record.read(copy).passed(name)
    append(copy / "src/bastide/engines/sql/README.md", "More.")
    assert record.read(copy).passed(name)
    append(copy / "src/bastide/engines/ids/README.md", "More.")
    assert not record.read(copy).passed(name)


def test_a_test_that_is_broken_off_has_shown_nothing(copy: Path, run) -> None:
    path = copy / "tests/test_planted.py"
    path.write_text(
        "import pytest\n\n\n"
        '@pytest.mark.box("ids.http")\ndef test_whole():\n    pass\n\n\n'
        '@pytest.mark.box("ids.uuid7")\ndef test_broken_off():\n    raise KeyboardInterrupt\n'
    )
    run(copy, "pytest", str(path))
    found = record.read(copy)
    assert (found.shown("box ids.http"), found.shown("box ids.uuid7")) == (True, False)


def test_a_claim_that_the_tests_did_not_show_is_told(copy: Path, run) -> None:
    """In CI, after all tests: nothing ran here, so whatever is claimed is too much."""
    (copy / record.RECORD).unlink(missing_ok=True)
    kept = {"sql": Rating(level="silver")}
    (copy / quality.LEVELS_PATH).write_bytes(msgspec.json.encode(kept))
    told = "\n".join(quality.stale(Told(copy, record.read(copy)), tuple(quality.CHECKS)))
    for check in ("story", "limits", "must-do", "conformance", "client", "errors", *SHOWS):
        assert f"sql: {check}: " in told
    assert run(copy, "python", "-m", "tools.quality", "--ran").returncode == 1


def test_a_tree_without_a_record_shows_nothing(tmp_path: Path) -> None:
    assert record.read(tmp_path).tests == {}


def test_a_level_that_its_checks_do_not_give_is_told(copy: Path) -> None:
    path = copy / quality.LEVELS_PATH
    kept = msgspec.json.decode(path.read_bytes())
    kept["gone"] = kept["console"]
    kept["sql"]["level"] = "platinum"
    kept["ids"]["exempt"] = {"watch": "it is small"}
    path.write_bytes(msgspec.json.encode(kept))
    told = "\n".join(quality.stale(Told(copy, record.written(copy)), quality.CHEAP))
    assert "gone: there is no such system" in told
    assert "sql: platinum is not what its checks give" in told
    assert "ids: other checks are exempted in its manifest" in told


def test_a_level_whose_test_has_lost_its_mark_is_told(copy: Path, run) -> None:
    path = copy / "tests/engines/sql/test_reads.py"
    path.write_text(path.read_text().replace('@pytest.mark.limit("sql.SCANS_MAX")\n', ""))
    ended = run(copy, "python", "-m", "tools.quality")
    assert ended.returncode == 1
    assert 'sql: limits: no passed test bears mark.limit("sql.SCANS_MAX")' in ended.stdout


def test_what_is_computed_is_told_to_programs_and_kept(copy: Path, run) -> None:
    with (copy / "src/bastide/apps/console/service/console.py").open("a") as file:
        file.write("\nimport bastide.engines.sql.service\n\nnumber: int = ''\n")
    ended = run(copy, "python", "-m", "bastide", "quality", "console", "--json", "--write")
    assert ended.returncode == 0, ended.stderr
    told = msgspec.json.decode(ended.stdout)
    assert told["console"]["level"] == "unrated"
    assert {"shape", "typed", "story"} <= told["console"]["missed"].keys()
    assert "has not run" in told["console"]["missed"]["story"], "a copy has no record"
    kept = msgspec.json.decode((copy / quality.LEVELS_PATH).read_bytes())
    assert kept["console"] == told["console"]
    assert "| console | unrated | " in (copy / "README.md").read_text()
    assert kept["sql"] == msgspec.to_builtins(quality.stored(quality.ROOT)["sql"])
    assert run(copy, "python", "-m", "tools.docs").returncode == 0


def test_quality_refuses_a_system_that_is_not_there(root: Path, run) -> None:
    ended = run(root, "python", "-m", "bastide", "quality", "zebra")
    assert ended.returncode == 2
    assert "there is no system zebra" in ended.stderr


def test_without_a_checkout_quality_says_that_it_needs_one(copy: Path, run) -> None:
    (copy / "tools/quality.py").unlink()
    ended = run(copy, "python", "-m", "bastide", "quality")
    assert ended.returncode == 2
    assert "in a checkout" in ended.stderr
