"""From a message's description to a function that reads it.

Idea: a table that is walked for each message costs a step for each field, and most of the time goes
into the walking. So it is walked once for each version: what comes out is the source of a function
in which each step stands in its place, with names and numbers filled in. Fields of fixed size that
are neighbours are read in one go. That of Heartbeat's version 3 reads, shortened:

    n, = int16(b, at); at += 2
    ...                                          group_id: b[at:at + n].decode(); at += n
    v2, = fixed_i(b, at); at += 4                generation_id
    ...
    return {"group_id": v1, "generation_id": v2, "member_id": v3, ...}, at

What a peer sends is not trusted. A length beyond the end is refused before it is used, a count
before its elements are read: each takes at least the bytes that its fields need. And since an
element that took 3 bytes can be an object of 300, all arrays of a message together have at most
`room` elements. So time and memory are bounded by the frame's size. The schemas are finite: there
is no nesting to bound.

`struct.error`, IndexError and UnicodeDecodeError say that bytes are missing or are no text. They
are caught once, in `run`, for a check at each byte would cost more than all the rest.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from bastide.engines.log.wire.codec.errors import Malformed
from bastide.engines.log.wire.codec.primitives import (
    FIXED,
    STRING_BYTES_MAX,
    VARIABLE,
    read_array,
    read_uvarint,
    skip_tags,
)
from bastide.engines.log.wire.codec.schema import NONE, Field, bytes_min, present
from bastide.engines.log.wire.codec.source import Source

Body: TypeAlias = dict[str, Any]
Decode: TypeAlias = Callable[[bytes, int, int], tuple[Body, int]]

_NAMES = {
    "Malformed": Malformed,
    "int16": struct.Struct(">h").unpack_from,
    "int32": struct.Struct(">i").unpack_from,
    "read_array": read_array,
    "read_uvarint": read_uvarint,
    "skip_tags": skip_tags,
}


def compile_decoder(fields: Sequence[Field], version: int, *, flexible: bool) -> Decode:
    """A function of the bytes, of where in them the message begins, and of how many elements its
    arrays may have together. Its result: the body, and where the message ends. It is to be called
    by `run`.

    A body has every field of the message; those that the version lacks are at their defaults.
    Records are views into the bytes, all else is copied.
    """
    return decoder_source(fields, version, flexible=flexible).build("decode")


def decoder_source(fields: Sequence[Field], version: int, *, flexible: bool) -> Source:
    source = Source("def decode(b, at, room):", _NAMES)
    source.line("end = len(b)", "view = memoryview(b)")
    body = _Reader(source, version, flexible=flexible).read_struct(fields)
    source.line(f"return {body}, at")
    return source


def run(decode: Decode, given: bytes, at: int, room: int) -> tuple[Body, int]:
    """
    Raises:
        Malformed
    """
    try:
        return decode(given, at, room)
    except (struct.error, IndexError) as error:
        raise Malformed("it is cut off") from error
    except UnicodeDecodeError as error:
        raise Malformed("a string is not UTF-8") from error


def default_text(field: Field) -> str:
    """What makes a field's default; a new one each time if it can be changed."""
    if field.type != "struct" or field.is_array:
        return repr(field.default)
    return _dict_text({each.name: default_text(each) for each in field.fields})


def _dict_text(texts: dict[str, str]) -> str:
    return "{" + ", ".join(f"{name!r}: {text}" for name, text in texts.items()) + "}"


class _Reader:
    """Writes the steps for each kind of field. `v...` are the fields' values, `n` is the latest
    length or count (-1: null), `to` where the latest value ends.
    """

    def __init__(self, source: Source, version: int, *, flexible: bool) -> None:
        self._source = source
        self._version = version
        self._flexible = flexible

    def read_struct(self, fields: Sequence[Field]) -> str:
        """The expression that makes the dict, after the steps that read its values."""
        names: dict[str, str] = {}
        fixed: list[Field] = []
        tagged: list[Field] = []
        for field in present(fields, self._version):
            names[field.name] = self._source.name()
            if field.is_fixed(self._version):
                fixed.append(field)
            elif self._version in field.tagged:
                tagged.append(field)
            else:
                self._read_fixed(fixed, names)
                self._read_value(field, names[field.name])
        self._read_fixed(fixed, names)
        if self._flexible:
            self._read_tags(tagged, names)
        return _dict_text({f.name: names.get(f.name) or default_text(f) for f in fields})

    def _read_fixed(self, fields: list[Field], names: dict[str, str]) -> None:
        if not fields:
            return
        codes = "".join(FIXED[field.type].code for field in fields)
        layout = struct.Struct(f">{codes}")
        reader = self._source.constant(f"fixed_{codes.replace('?', 't')}", layout.unpack_from)
        targets = "".join(f"{names[field.name]}, " for field in fields)
        self._source.line(f"{targets}= {reader}(b, at)", f"at += {layout.size}")
        fields.clear()

    def _read_value(self, field: Field, target: str) -> None:
        if field.is_array:
            self._read_length(4)
            self._read_array(field, target)
        elif field.type == "struct":
            self._source.line(f"{target} = {self.read_struct(field.fields)}")
        elif field.type in VARIABLE:
            self._read_length(VARIABLE[field.type])
            self._read_variable(field, target)
        else:
            self._read_fixed([field], {field.name: target})

    def _read_length(self, classic_bytes: int) -> None:
        if not self._flexible:
            self._source.line(f"n, = int{8 * classic_bytes}(b, at)", f"at += {classic_bytes}")
            return
        self._source.line("n = b[at]")
        with self._source.block("if n < 128:"):
            self._source.line("at += 1")
        with self._source.block("else:"):
            self._source.line("n, at = read_uvarint(b, at)")
        self._source.line("n -= 1")

    def _refuse(self, name: str, reason: str) -> None:
        self._source.line(f"raise Malformed({f'{name}: {reason}'!r})")

    def _read_null(self, field: Field, target: str) -> None:
        """Opens what is read in place of a value when there is none."""
        with self._source.block("if n < 0:"):
            if self._version not in field.nullable:
                self._refuse(field.name, "it may not be null")
                return
            with self._source.block("if n != -1:"):
                self._refuse(field.name, "a length below -1")
            self._source.line(f"{target} = None")

    def _read_variable(self, field: Field, target: str) -> None:
        self._read_null(field, target)
        with self._source.block("else:"):
            self._source.line("to = at + n")
            is_string = field.type == "string"
            too_long = f" or n > {STRING_BYTES_MAX}" if is_string else ""
            with self._source.block(f"if to > end{too_long}:"):
                self._refuse(field.name, "it is longer than it may be, or than the frame")
            given = "view" if field.type == "records" else "b"
            self._source.line(f"{target} = {given}[at:to]{'.decode()' if is_string else ''}")
            self._source.line("at = to")

    def _read_array(self, field: Field, target: str) -> None:
        self._read_null(field, target)
        with self._source.block("else:"):
            each_bytes = bytes_min(field, self._version, flexible=self._flexible)
            self._source.line("room -= n")
            with self._source.block(f"if room < 0 or n * {each_bytes} > end - at:"):
                self._refuse(field.name, "more elements than are allowed, or than are there")
            if field.type in FIXED:
                code = FIXED[field.type].code
                self._source.line(f"{target} = read_array(b, at, n, {code!r})")
                self._source.line(f"at += n * {each_bytes}")
            else:
                self._read_elements(field, target)

    def _read_elements(self, field: Field, target: str) -> None:
        self._source.line(f"{target} = []")
        with self._source.block("for _ in range(n):"):
            if field.type == "struct":
                each = self.read_struct(field.fields)
            else:
                each = self._source.name()
                self._read_length(VARIABLE[field.type])
                self._read_variable(_element(field), each)
            self._source.line(f"{target}.append({each})")

    def _read_tags(self, fields: list[Field], names: dict[str, str]) -> None:
        for field in fields:
            self._source.line(f"{names[field.name]} = {default_text(field)}")
        self._source.line("n = b[at]", "at += 1")
        with self._source.block("if n:"):
            self._source.line("n, at = read_uvarint(b, at - 1)", "room -= n")
            with self._source.block("if room < 0:"):
                self._refuse("tagged fields", "more than are allowed")
            if not fields:
                self._source.line("at = skip_tags(b, at, n)")
                return
            with self._source.block("for _ in range(n):"):
                self._read_tagged(fields, names)

    def _read_tagged(self, fields: list[Field], names: dict[str, str]) -> None:
        tag, to = self._source.name(), self._source.name()
        self._source.line(f"{tag}, at = read_uvarint(b, at)", "n, at = read_uvarint(b, at)")
        self._source.line(f"{to} = at + n")
        with self._source.block(f"if {to} > end:"):
            self._refuse("tagged fields", "one goes beyond the end")
        for field in fields:
            with self._source.block(f"if {tag} == {field.tag}:"):
                self._read_value(field, names[field.name])
                with self._source.block(f"if at != {to}:"):
                    self._refuse(field.name, "it is not of the size that it is said to have")
        self._source.line(f"at = {to}")


def _element(field: Field) -> Field:
    """A string of an array of strings is as the array, but for being null."""
    return Field(
        name=field.name,
        type=field.type,
        is_array=False,
        fields=(),
        versions=field.versions,
        nullable=NONE,
        default=None,
        tag=None,
        tagged=NONE,
    )
