"""A system's README as a part of its page.

Its title is left out, since the page has one; its other headings get ids.
HTML in it is shown as text, a link leads to http(s) or into the README, and a picture is its words:
the page loads nothing from elsewhere.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.resources import files
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from bastide.base.manifest import Manifest

if TYPE_CHECKING:  # imported when the first README is asked for
    from markdown_it.renderer import RendererHTML
    from markdown_it.token import Token

ID_PREFIX = "readme-"  # the page has ids of its own
_COMMENT = re.compile(r"^<!--.*?-->\s*$", re.MULTILINE | re.DOTALL)
_BOXES = (("[ ] ", "☐ "), ("[x] ", "☑ "))


def readme(manifest: Manifest) -> Markup | None:
    """None: the system has no README."""
    package = import_module(manifest.open.__module__.rpartition(".")[0])
    path = files(package) / "README.md"
    return rendered(path.read_text("utf-8")) if path.is_file() else None


@cache
def rendered(text: str) -> Markup:
    """`text` as HTML that holds nothing but what it says."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.add_render_rule("table_open", _table_open)
    parser.add_render_rule("table_close", _table_close)
    parser.add_render_rule("fence", _code)
    parser.add_render_rule("code_block", _code)
    parser.add_render_rule("image", _words_of_image)
    tokens = _titleless(parser.parse(_COMMENT.sub("", text)))
    _name_headings(tokens)
    for at, token in enumerate(tokens):
        if token.attrs.pop("style", "") == "text-align:right":  # inline styles are refused
            token.attrSet("class", "number")
        if token.type == "th_open" and not tokens[at + 1].content:
            token.tag = tokens[at + 2].tag = "td"  # a corner heads nothing
        if token.type == "inline":
            _tend_links(token.children or [])
            if _draw_box(token.children or []):
                tokens[at - 2].attrSet("class", "box")
    return Markup(parser.renderer.render(tokens, parser.options, {}))  # noqa: S704 (html is off)


def _titleless(tokens: "Sequence[Token]") -> "list[Token]":
    title = next((n for n, t in enumerate(tokens) if t.type == "heading_close"), -1)
    has_title = bool(tokens) and tokens[0].type == "heading_open" and tokens[0].tag == "h1"
    return list(tokens[title + 1 :] if has_title else tokens)


def _name_headings(tokens: "Sequence[Token]") -> None:
    taken: set[str] = set()
    for token, inline in pairwise(tokens):
        if token.type == "heading_open":
            name = slug(inline.content)
            while name in taken:
                name += "-"
            taken.add(name)
            token.attrSet("id", ID_PREFIX + name)


def slug(heading: str) -> str:
    return re.sub(r"[^\w]+", "-", heading.lower()).strip("-")


def _tend_links(children: "Sequence[Token]") -> None:
    """Links that would miss lose their href."""
    for token in children:
        href = token.attrGet("href") if token.type == "link_open" else None
        if isinstance(href, str):
            if href.startswith("#"):
                token.attrSet("href", f"#{ID_PREFIX}{href[1:]}")
            elif not href.startswith(("http://", "https://")):
                del token.attrs["href"]


def _draw_box(children: "Sequence[Token]") -> bool:
    """`[ ]` and `[x]` at the beginning, as in a list of what is to be done."""
    for written, drawn in _BOXES:
        if children and children[0].content.startswith(written):
            children[0].content = drawn + children[0].content.removeprefix(written)
            return True
    return False


def _table_open(
    renderer: "RendererHTML", tokens: "Sequence[Token]", at: int, *_: Mapping[str, Any]
) -> str:
    number = sum(token.type == "table_open" for token in tokens[: at + 1])
    return f'<div class="wide" tabindex="0" role="region" aria-label="table {number}"><table>\n'


def _table_close(*_: Any) -> str:
    return "</table></div>\n"


def _code(
    renderer: "RendererHTML", tokens: "Sequence[Token]", at: int, *_: Mapping[str, Any]
) -> Markup:
    """It scrolls by keyboard, too."""
    return Markup('<pre tabindex="0"><code>{}</code></pre>\n').format(tokens[at].content)


def _words_of_image(
    renderer: "RendererHTML", tokens: "Sequence[Token]", at: int, *_: Mapping[str, Any]
) -> Markup:
    return Markup('<span class="soft">[{}]</span>').format(tokens[at].content)
