"""A system that scripts/new-system makes passes every check, and its own test, at once."""

from pathlib import Path

import pytest

from tools.new_system import NAME, SUMMARY_CHARS_MAX, refusal


def test_new_systems_pass_every_check_at_once(copy: Path, run) -> None:
    summary = "S" * (SUMMARY_CHARS_MAX - 1) + "."
    for floor, name in (("engines", "zebra"), ("apps", "lion")):
        made = run(copy, "python", "-m", "tools.new_system", floor, name, summary)
        assert made.returncode == 0, made.stderr
    new = ["src/bastide/engines/zebra", "src/bastide/apps/lion"]
    tests = ["tests/engines/zebra", "tests/apps/lion"]
    for check in (
        ["ruff", "check", *new, *tests, "src/bastide/systems.py"],
        ["ruff", "format", "--check", *new, *tests, "src/bastide/systems.py"],
        ["mypy", *new],
        ["lint-imports", "--no-logo"],
        ["python", "-m", "tools.tidy"],
        ["python", "-m", "tools.docs"],
        ["pytest", *tests],
        ["python", "-m", "bastide", "list"],
    ):
        ended = run(copy, *check)
        assert ended.returncode == 0, f"{check}\n{ended.stdout}{ended.stderr}"
    assert "zebra" in ended.stdout


def test_a_new_system_stands_before_the_console(copy: Path, run) -> None:
    run(copy, "python", "-m", "tools.new_system", "apps", "zebra", "Stripes.")
    listed = (copy / "src/bastide/systems.py").read_text()
    assert listed.endswith('    "bastide.apps.zebra",\n    "bastide.apps.console",\n)\n')


@pytest.mark.parametrize(
    ("floor", "name", "summary", "said"),
    [
        ("parts", "zebra", "Stripes.", "the floor is"),
        ("apps", "z", "Stripes.", "a name has"),
        ("apps", "z" * 31, "Stripes.", "a name has"),
        ("apps", "Zebra", "Stripes.", "a name has"),
        ("apps", "../zebra", "Stripes.", "a name has"),
        ("apps", "class", "Stripes.", "a name has"),
        ("apps", "bench", "Stripes.", "a name has"),
        ("apps", "zebra", "", "a summary is"),
        ("apps", "zebra", "S" * (SUMMARY_CHARS_MAX + 1), "a summary is"),
        ("apps", "zebra", 'So-called "stripes".', "a summary is"),
        ("apps", "zebra", "One\nTwo", "a summary is"),
        ("apps", "zebra", "a\\b", "a summary has"),
    ],
)
def test_a_system_that_would_not_stand_is_not_begun(
    root: Path, floor: str, name: str, summary: str, said: str
) -> None:
    assert said in refusal(root, floor, name, summary)


def test_a_system_is_not_made_twice(tmp_path: Path) -> None:
    (tmp_path / "src/bastide/engines/zebra").mkdir(parents=True)
    assert refusal(tmp_path, "apps", "zebra", "Stripes.") == "zebra is there already"
    assert refusal(tmp_path, "apps", "lion", "Mane.") == ""


def test_a_name_of_30_letters_is_taken() -> None:
    assert NAME.fullmatch("z" * 30)


def test_without_its_three_words_it_says_how_it_is_used(root: Path, run) -> None:
    ended = run(root, "python", "-m", "tools.new_system", "apps")
    assert ended.returncode == 2
    assert ended.stderr.startswith("usage: scripts/new-system engines|apps NAME")
