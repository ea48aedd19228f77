"""How a message is described: a line for each field, what belongs to a struct indented below it.

    name            type     versions   options

    timeout_ms      int32               = 60000
    group_instance  string   5+         null = null
    topics          []                  null 2-7
      name          string
      partitions    []int32
    leader          {}       12+        tag 1
      epoch         int32               = -1

The types are those of `primitives`; `[]int32` is an array of them, `[]` one of structs, `{}` a
struct. Versions are `5+`, `2-7` or `3`; none: all. The options, in this order: `null`, it may be
None, and in which versions; `= x`, what it is where nobody says, else zero, empty or (of records)
None; `tag n`, in flexible versions it is a tagged field, and in which.

Numbers of versions are Kafka's own. A field of which only versions that we do not serve would know
is left out.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import msgspec

from bastide.engines.log.wire.codec.primitives import FIXED, VARIABLE

_VERSIONS = re.compile(r"(\d+)(\+|-(\d+))?")
_LAST = 1 << 15  # no version is so high


class Versions(msgspec.Struct, frozen=True):
    """`first` to `last`, both among them."""

    first: int = 0
    last: int = _LAST

    def __contains__(self, version: int) -> bool:
        return self.first <= version <= self.last


ALL = Versions()
NONE = Versions(1, 0)


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """`fields` are those of a struct. `default` is a number, a string, bytes, None, or for an array
    and a struct: [] and {}.
    """

    name: str
    type: str
    is_array: bool
    fields: Sequence["Field"]
    versions: Versions
    nullable: Versions
    default: Any
    tag: int | None
    tagged: Versions

    def is_fixed(self, version: int) -> bool:
        """Its size is always the same, so it can be read together with its neighbours."""
        return self.type in FIXED and not self.is_array and version not in self.tagged


@cache
def parse(text: str) -> Sequence[Field]:
    """The fields of a message. A line that is none is a mistake in our table: an AssertionError."""
    lines = _Lines([line for line in text.splitlines() if line.strip()])
    fields = lines.take_fields()
    assert lines.are_taken, text
    return fields


class _Lines:
    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines
        self._at = 0

    @property
    def are_taken(self) -> bool:
        return self._at == len(self._lines)

    def take_fields(self) -> Sequence[Field]:
        """Those at the depth of the next line."""
        depth = self._depth()
        fields = []
        while self._depth() == depth:
            fields.append(self._take_field(depth))
        assert self._depth() < depth, self._lines[self._at]
        return tuple(fields)

    def _depth(self) -> int:
        """Of the next line; -1 at the end."""
        if self._at == len(self._lines):
            return -1
        line = self._lines[self._at]
        return len(line) - len(line.lstrip())

    def _take_field(self, depth: int) -> Field:
        words = _Words(self._lines[self._at].split())
        self._at += 1
        name, shown = words.take(), words.take()
        type_ = shown.removeprefix("[]") if shown not in ("[]", "{}") else "struct"
        is_array = shown.startswith("[]")
        versions = words.take_versions(ALL)
        nullable = words.take_versions(versions) if words.take_if("null") else NONE
        default = _default(type_, is_array, words.take() if words.take_if("=") else "")
        tag = int(words.take()) if words.take_if("tag") else None
        tagged = NONE if tag is None else words.take_versions(versions)
        assert words.is_empty, f"{name}: more than is understood"
        assert type_ in FIXED or type_ in VARIABLE or type_ == "struct", f"{name}: {type_}"
        fields = self.take_fields() if type_ == "struct" and self._depth() > depth else ()
        assert bool(fields) == (type_ == "struct"), f"{name}: a struct has fields, nothing else has"
        assert shown != "{}" or nullable is NONE, f"{name}: only an array of structs may be null"
        return Field(
            name=name,
            type=type_,
            is_array=is_array,
            fields=fields,
            versions=versions,
            nullable=nullable,
            default=default,
            tag=tag,
            tagged=tagged,
        )


class _Words:
    def __init__(self, words: Sequence[str]) -> None:
        self._words = list(reversed(words))

    @property
    def is_empty(self) -> bool:
        return not self._words

    def take(self) -> str:
        return self._words.pop()

    def take_if(self, word: str) -> bool:
        if self._words and self._words[-1] == word:
            self._words.pop()
            return True
        return False

    def take_versions(self, otherwise: Versions) -> Versions:
        match = _VERSIONS.fullmatch(self._words[-1]) if self._words else None
        if match is None:
            return otherwise
        self._words.pop()
        first, open_ended, last = match.groups()
        return Versions(int(first), int(last or (_LAST if open_ended else first)))


def _default(type_: str, is_array: bool, said: str) -> Any:
    if said == "null" or (type_ == "records" and not said):
        return None
    if is_array or type_ == "struct":
        return [] if is_array else {}
    if type_ == "bool":
        return said == "true"
    if type_ == "float64":
        return float(said or 0)
    if type_ in ("string", "bytes", "uuid"):
        return {"string": "", "bytes": b"", "uuid": bytes(16)}[type_]
    return int(said or 0)


def present(fields: Sequence[Field], version: int) -> Iterator[Field]:
    return (field for field in fields if version in field.versions)


def bytes_min(field: Field, version: int, *, flexible: bool) -> int:
    """The least that one element of an array of such takes, or such a field itself."""
    if field.type in FIXED:
        return FIXED[field.type].size_bytes
    if field.type in VARIABLE:
        return 1 if flexible else VARIABLE[field.type]
    size = 1 if flexible else 0  # the number of its tagged fields
    for each in present(field.fields, version):
        if version in each.tagged:
            continue
        if each.is_array:
            size += 1 if flexible else 4
        else:
            size += bytes_min(each, version, flexible=flexible)
    return size
