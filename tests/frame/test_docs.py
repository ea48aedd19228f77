from pathlib import Path

import pytest

from tools import docs

TABLES = {"settings": "| a |"}


def test_a_table_is_put_in_its_place() -> None:
    text = "before\n<!-- generated:settings -->\nold\n<!-- /generated -->\nafter\n"
    new = "before\n<!-- generated:settings -->\n\n| a |\n\n<!-- /generated -->\nafter\n"
    assert docs.filled(text, TABLES) == new
    assert docs.filled(new, TABLES) == new


def test_a_table_without_a_place_is_put_at_the_end() -> None:
    filled = docs.filled("before\n", TABLES)
    assert filled == "before\n\n<!-- generated:settings -->\n\n| a |\n\n<!-- /generated -->\n"


def test_a_table_that_nothing_fills_any_more_is_emptied() -> None:
    text = "<!-- generated:commands -->\n\n| b |\n\n<!-- /generated -->"
    assert docs.filled(text, {}) == "<!-- generated:commands -->\n<!-- /generated -->"


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    assert docs.table(("A", "B"), [("a|b", "c")]).endswith("| a\\|b | c |")


@pytest.mark.parametrize("lie", ["`BASTIDE_HTTP`", "127.0.0.1:8800", "bastide_calls_total"])
def test_a_readme_that_lies_is_told_and_put_right(copy: Path, lie: str, run) -> None:
    assert run(copy, "python", "-m", "tools.docs", "--write").returncode == 0
    readme = copy / "README.md"
    true = readme.read_text()
    readme.write_text(true.replace(lie, "something else"))

    ended = run(copy, "python", "-m", "tools.docs")
    assert ended.returncode == 1
    assert ended.stdout.startswith("README.md: a table is out of date")

    assert run(copy, "python", "-m", "tools.docs", "--write").returncode == 0
    assert readme.read_text() == true
    assert run(copy, "python", "-m", "tools.docs").returncode == 0


def test_metrics_are_read_from_the_code_by_text_or_by_constant(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        'NAME = "bastide_b_total"\n'
        'registry.counter(NAME, "Bs.", system="b")\n'
        "charts.histogram(counts, BUCKETS_S)\n"
        'def f():\n    return self.metrics.gauge("bastide_a", "As.", lambda: 1)\n'
    )
    assert set(docs.metrics(tmp_path)) == {
        ("`bastide_b_total`", "counter", "Bs."),
        ("`bastide_a`", "gauge", "As."),
    }


def test_a_metric_whose_name_is_worked_out_can_not_be_documented(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('self._registry.counter(f"bastide_{name}", "Bs.")')
    with pytest.raises(SystemExit, match="must be texts"):
        list(docs.metrics(tmp_path))
