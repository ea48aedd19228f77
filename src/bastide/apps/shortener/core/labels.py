"""Titles and tags: what people write on their links."""

from collections.abc import Iterable, Sequence

from bastide.apps.shortener.contract import (
    TAG_CHARACTERS_MAX,
    TAGS_MAX,
    TITLE_CHARACTERS_MAX,
    LabelWrong,
)


def title_of(text: str) -> str:
    """Without blanks around it.

    Raises:
        LabelWrong.
    """
    title = text.strip()
    if len(title) > TITLE_CHARACTERS_MAX:
        given = f"a title of {len(title)} characters"
        raise LabelWrong(f"{given}; at most {TITLE_CHARACTERS_MAX} are taken")
    _refuse_unprintable(title)
    return title


def tags_of(texts: Iterable[str]) -> Sequence[str]:
    """In lower case, each once, in the order in which they came; empty ones are left out.

    Raises:
        LabelWrong.
    """
    tags = tuple(dict.fromkeys(tag for text in texts if (tag := _tag(text))))
    if len(tags) > TAGS_MAX:
        raise LabelWrong(f"{len(tags)} tags; at most {TAGS_MAX} are taken")
    return tags


def _tag(text: str) -> str:
    tag = text.strip().lower()
    if len(tag) > TAG_CHARACTERS_MAX:
        given = f"a tag of {len(tag)} characters"
        raise LabelWrong(f"{given}; at most {TAG_CHARACTERS_MAX} are taken")
    if "," in tag:
        raise LabelWrong(f"the tag {tag!r} has a comma, which parts tags")
    _refuse_unprintable(tag)
    return tag


def _refuse_unprintable(text: str) -> None:
    if not text.isprintable():
        raise LabelWrong(f"{text!r} has a character that can't be shown")
