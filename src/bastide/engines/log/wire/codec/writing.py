"""From a message's description to a function that writes it: `reading` the other way round.

The function appends pieces to a list and joins nothing: whoever calls it joins them all at once, or
hands large ones to the socket as they are. Nothing is checked here that a peer could have said; a
body that does not fit is a mistake of ours and fails as such things fail, by AssertionError,
TypeError or `struct.error`.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from bastide.engines.log.wire.codec.primitives import (
    FIXED,
    STRING_BYTES_MAX,
    UVARINT_SHORT,
    VARIABLE,
    Bytes,
    array,
    tags,
    uvarint,
)
from bastide.engines.log.wire.codec.reading import default_text
from bastide.engines.log.wire.codec.schema import Field, present
from bastide.engines.log.wire.codec.source import Source

Encode: TypeAlias = Callable[[dict[str, Any], list[Bytes]], None]

_NAMES = {
    "array": array,
    "int16": struct.Struct(">h").pack,
    "int32": struct.Struct(">i").pack,
    "short": UVARINT_SHORT,
    "tags": tags,
    "uvarint": uvarint,
}


def compile_encoder(fields: Sequence[Field], version: int, *, flexible: bool) -> Encode:
    """A function of the body and of the list that takes its pieces.

    A field that is absent is written with its default. One that the version lacks is not written:
    the same body does for every version. A key that is a field in no version fails an assertion.
    Records may also be a list of pieces, which are written one behind the other.
    """
    return encoder_source(fields, version, flexible=flexible).build("encode")


def encoder_source(fields: Sequence[Field], version: int, *, flexible: bool) -> Source:
    source = Source("def encode(v0, out):", _NAMES)
    source.line("add = out.append")
    _Writer(source, version, flexible=flexible).write_struct(fields, "v0")
    return source


class _Writer:
    """Writes the steps for each kind of field. `v...` are values, `n` the latest length."""

    def __init__(self, source: Source, version: int, *, flexible: bool) -> None:
        self._source = source
        self._version = version
        self._flexible = flexible
        self._add = "add"  # what takes the pieces: while a tagged field is written, another list

    def write_struct(self, fields: Sequence[Field], body: str) -> None:
        get = self._source.name()
        self._check_keys(fields, body)
        self._source.line(f"{get} = {body}.get")
        fixed: list[Field] = []
        tagged: list[Field] = []
        for field in present(fields, self._version):
            if field.is_fixed(self._version):
                fixed.append(field)
            elif self._version in field.tagged:
                tagged.append(field)
            else:
                self._write_fixed(fixed, get)
                self._write_value(field, self._take(field, get))
        self._write_fixed(fixed, get)
        if self._flexible:
            self._write_tags(tagged, get)

    def _check_keys(self, fields: Sequence[Field], body: str) -> None:
        names = frozenset(field.name for field in fields)
        known = self._source.constant(f"known{self._source.name()}", names)
        self._source.line(f"assert {body}.keys() <= {known}, {body}.keys() - {known}")

    def _take(self, field: Field, get: str) -> str:
        value = self._source.name()
        self._source.line(f"{value} = {get}({field.name!r}, {default_text(field)})")
        return value

    def _write_fixed(self, fields: list[Field], get: str) -> None:
        if fields:
            values = (f"{get}({field.name!r}, {field.default!r})" for field in fields)
            self._source.line(f"{self._add}({self._packer(fields)}({', '.join(values)}))")
            fields.clear()

    def _packer(self, fields: Sequence[Field]) -> str:
        codes = "".join(FIXED[field.type].code for field in fields)
        name = f"fixed_{codes.replace('?', 't')}"
        return self._source.constant(name, struct.Struct(f">{codes}").pack)

    def _write_value(self, field: Field, value: str) -> None:
        if self._version in field.nullable:
            with self._source.block(f"if {value} is None:"):
                self._write_null(field)
            with self._source.block("else:"):
                self._write_present(field, value)
        else:
            self._write_present(field, value)

    def _write_null(self, field: Field) -> None:
        classic_bytes = 4 if field.is_array else VARIABLE[field.type]
        null = bytes(1) if self._flexible else b"\xff" * classic_bytes
        self._source.line(f"{self._add}({null!r})")

    def _write_present(self, field: Field, value: str) -> None:
        if field.is_array:
            self._write_array(field, value)
        elif field.type == "struct":
            self.write_struct(field.fields, value)
        elif field.type in VARIABLE:
            self._write_variable(field.type, value)
        else:
            self._source.line(f"{self._add}({self._packer([field])}({value}))")

    def _write_length(self, length: str, classic_bytes: int) -> None:
        if self._flexible:
            self._source.line(f"n = {length} + 1")
            self._source.line(f"{self._add}(short[n] if n < 128 else uvarint(n))")
        else:
            self._source.line(f"{self._add}(int{8 * classic_bytes}({length}))")

    def _write_variable(self, type_: str, value: str) -> None:
        if type_ == "records":
            self._source.line(f"{value} = {value} if type({value}) is list else [{value}]")
            self._write_length(f"sum(map(len, {value}))", VARIABLE[type_])
            with self._source.block(f"for piece in {value}:"):
                self._source.line(f"{self._add}(piece)")
            return
        if type_ == "string":
            self._source.line(f"{value} = {value}.encode()")
            self._source.line(f"assert len({value}) <= {STRING_BYTES_MAX}, len({value})")
        self._write_length(f"len({value})", VARIABLE[type_])
        self._source.line(f"{self._add}({value})")

    def _write_array(self, field: Field, values: str) -> None:
        self._write_length(f"len({values})", 4)
        if field.type in FIXED:
            self._source.line(f"{self._add}(array({values}, {FIXED[field.type].code!r}))")
            return
        each = self._source.name()
        with self._source.block(f"for {each} in {values}:"):
            if field.type == "struct":
                self.write_struct(field.fields, each)
            else:
                self._write_variable(field.type, each)

    def _write_tags(self, fields: list[Field], get: str) -> None:
        if not fields:
            self._source.line(f"{self._add}(short[0])")
            return
        found, before = self._source.name(), self._add
        self._source.line(f"{found} = []")
        for field in sorted(fields, key=lambda field: field.tag or 0):
            value, pieces = self._take(field, get), self._source.name()
            with self._source.block(f"if {value} != {default_text(field)}:"):
                self._source.line(f"{pieces} = []")
                self._add = f"{pieces}.append"
                self._write_value(field, value)
                self._source.line(f"{found}.append(({field.tag}, {pieces}))")
            self._add = before
        self._source.line(f"{before}(tags({found}) if {found} else short[0])")
