"""Charts, figures, READMEs as parts of pages, and the files that browsers are given."""

import hashlib
import re
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.base.html import charts, figures
from bastide.base.html.readme import rendered
from bastide.base.metrics import BUCKETS_S

PACKAGE = Path(sys.modules["bastide"].__file__ or "").parent
HTML = PACKAGE / "base/html"


@given(st.lists(st.floats(0, 1e9), min_size=2, max_size=200))
def test_a_line_has_a_point_for_each_value_inside_its_frame(values: list[float]) -> None:
    line = charts.line(values)
    points = [tuple(map(float, point.split(","))) for point in line.path.split()]
    assert len(points) == len(values)
    assert points[0][0] == 0
    assert points[-1][0] == charts.WIDTH
    assert all(0 <= y <= charts.HEIGHT for _, y in points)
    assert line.peak == max(values)


@given(st.lists(st.integers(0, 10**9), min_size=len(BUCKETS_S) + 1, max_size=len(BUCKETS_S) + 1))
def test_a_histogram_keeps_every_count_and_orders_its_marks(counts: list[int]) -> None:
    made = charts.histogram(BUCKETS_S, counts)
    assert sum(bar.count for bar in made.bars) == sum(counts) == made.count
    assert all(0 <= bar.y <= charts.HEIGHT for bar in made.bars)
    if made.count:
        p50, p99 = made.marks
        assert p50.x <= p99.x <= charts.WIDTH
        assert p50.value <= p99.value


@pytest.mark.parametrize(
    ("per_s", "text"),
    [
        *((0, "0"), (0.01, "<0.1"), (0.05, "0.1"), (0.25, "0.2"), (9.94, "9.9"), (9.96, "10")),
        *((1234, "1,234"), (9999, "9,999"), (12_345, "12.3 k"), (999_400, "999 k")),
        *((1_500_000, "1.5 M"), (2.5e9, "2.5 G")),
    ],
)
def test_a_rate_is_told_by_three_digits(per_s: float, text: str) -> None:
    assert figures.rate_text(per_s) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "\N{EN DASH}"),
        (2e-7, "0.2 µs"),
        (1e-6, "1 µs"),
        (2.5e-4, "250 µs"),
        (0.0025, "2.5 ms"),
        (1.5, "1.5 s"),
        (120, "120 s"),
    ],
)
def test_a_time_is_told_in_its_unit(seconds: float, text: str) -> None:
    assert figures.time_text(seconds) == text


def test_values_are_told_whole_if_they_are() -> None:
    assert figures.value_text(12_345.0) == "12,345"
    assert figures.value_text(0.123456) == "0.123"
    assert figures.value_text(float("nan")) == "nan"
    assert figures.count_text(1_000_000) == "1,000,000"


# READMEs


def test_a_readme_leaves_out_its_title_and_names_its_headings() -> None:
    told = rendered("# one: a system\n\n## Failure modes\n\n## What\n\n## What\n")
    assert "a system" not in told
    assert re.findall(r'<h2 id="([^"]+)"', told) == [
        "readme-failure-modes",
        "readme-what",
        "readme-what-",
    ]


def test_a_readme_holds_nothing_but_what_it_says() -> None:
    told = rendered(
        "<script>alert(1)</script>\n\n<img src=x onerror=y>\n\n`<b>`\n\n```\n<i>\n```\n"
    )
    assert "<script" not in told
    assert "<img" not in told
    assert "&lt;script&gt;" in told
    assert "<code>&lt;b&gt;</code>" in told
    assert '<pre tabindex="0"><code>&lt;i&gt;\n</code></pre>' in told


@pytest.mark.parametrize(
    ("link", "href"),
    [
        ("https://example.org/a?b=c&d", 'href="https://example.org/a?b=c&amp;d"'),
        ("#limits", 'href="#readme-limits"'),
        ("../../docs/decisions/0001.md", None),
        ("javascript:alert(1)", None),
        ("JaVaScRiPt:alert(1)", None),
        ("data:text/html,x", None),
        ("//example.org", None),
    ],
)
def test_a_link_of_a_readme_leads_to_the_web_or_into_it(link: str, href: str | None) -> None:
    told = rendered(f"[words]({link})")
    assert "words" in told
    assert (href in told) if href else ("href" not in told)


def test_a_readme_s_pictures_are_words_and_its_markers_are_not_shown() -> None:
    told = rendered(
        "![the map](map.png)\n\n<!-- generated:settings -->\n<!-- /generated -->\n\nend\n"
    )
    assert "the map" in told
    assert "map.png" not in told
    assert "generated" not in told
    assert "end" in told


def test_a_readme_s_columns_are_aligned_without_inline_styles() -> None:
    told = rendered("|   | b | c |\n|--:|:-:|:--|\n| 1 | 2 | 3 |\n")
    assert "style" not in told
    assert told.count("<th") - told.count("<thead") == 2, "an empty corner is no heading"
    assert '<td class="number">1</td>' in told


def test_a_readme_s_tables_scroll_and_its_boxes_are_drawn() -> None:
    told = rendered(
        "| a | b |\n|---|---|\n| 1 | 2 |\n\n| c |\n|---|\n| 3 |\n\n- [x] done\n- [ ] not\n"
    )
    assert re.findall(r'aria-label="(table \d)"><table>', told) == ["table 1", "table 2"]
    assert '<li class="box">☑ done</li>' in told
    assert '<li class="box">☐ not</li>' in told


@given(st.text())
def test_any_text_can_be_a_readme(text: str) -> None:
    assert "<script" not in rendered(text)


# what is shipped


def test_vendored_files_are_as_their_makers_published_them() -> None:
    libraries = tomllib.loads((HTML / "vendor/manifest.toml").read_text())["library"]
    for library in libraries:
        body = (HTML / "vendor" / library["here"]).read_bytes()
        assert hashlib.sha256(body).hexdigest() == library["sha256"], library["name"]
        assert library.keys() >= {"name", "version", "package", "file", "licence"}
    listed = {library["here"] for library in libraries}
    assert {p.name for p in (HTML / "vendor").glob("*.*s")} == listed


def shipped(*suffixes: str) -> list[Path]:
    found = [p for p in PACKAGE.rglob("*") if p.suffix in suffixes and "vendor" not in p.parts]
    assert len(found) > 2
    return found


COLOUR = re.compile(
    r"#[0-9a-f]{3,8}\b|\b(?:rgba?|hsla?|hwb|lab|lch|oklab|oklch|color)\(|"
    r":\s*(?:white|black|red|green|blue|gr[ae]y|orange|yellow|purple)\b",
    re.IGNORECASE,
)


def test_colours_are_named_in_the_tokens_alone() -> None:
    for path in shipped(".css", ".js", ".svg"):
        if path.name != "tokens.css":
            assert not COLOUR.findall(path.read_text()), path
    for path in shipped(".html"):
        assert not re.findall(r'(?:fill|stroke|color)="(?!none)', path.read_text()), path


def test_pages_keep_to_the_policy_that_forbids_inline_styles_and_scripts() -> None:
    inline = re.compile(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|hx-on|javascript:")
    for path in shipped(".html"):
        assert not inline.findall(path.read_text()), path


def tokens(scheme: int) -> dict[str, str]:
    text = (HTML / "static/tokens.css").read_text()
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", text)
    return {name: values[scheme] for name, *values in pairs}


def luminance(colour: str) -> float:
    """WCAG 2.2: "relative luminance"."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


WORDS_ON = {
    **dict.fromkeys(("ink", "ink-soft", "accent"), ("paper", "paper-raised", "paper-sunk")),
    "wrong": ("paper", "paper-raised", "paper-sunk", "wrong-wash"),
    "late": ("paper", "paper-raised", "paper-sunk", "late-wash"),
    "accent-over": ("accent",),
}


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_words_have_the_contrast_of_aa_and_edges_that_of_parts(scheme: int) -> None:
    colours = tokens(scheme)
    for word, grounds in WORDS_ON.items():
        for ground in grounds:
            assert contrast(colours[word], colours[ground]) >= 4.5, (word, ground)
    for word in ("ink", "accent"):
        assert contrast(colours[word], colours["accent-wash"]) >= 4.5
    for ground in ("paper", "paper-raised"):
        assert contrast(colours["line-strong"], colours[ground]) >= 3
