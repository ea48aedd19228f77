"""Bodies of every message, from the table that describes them."""

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

from bastide.engines.log.wire.codec.api import Api
from bastide.engines.log.wire.codec.calls import (
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)
from bastide.engines.log.wire.codec.messages.table import APIS
from bastide.engines.log.wire.codec.schema import Field, parse

WIDTHS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}
TEXT = st.text(max_size=8) | st.sampled_from(["é" * 70, "x" * 127, "x" * 128, "☃" * 200])


class Message(NamedTuple):
    """One direction of an API, in one version."""

    api: Api
    version: int
    direction: str

    @property
    def fields(self) -> Sequence[Field]:
        return parse(self.api.request if self.direction == "request" else self.api.response)

    def encode(self, body: dict[str, Any]) -> bytes:
        """With the length in front."""
        if self.direction == "request":
            return encode_request(self.api, self.version, 7, "kit", body)
        return encode_response(self.api, self.version, 7, body)

    def decode(self, frame: bytes) -> dict[str, Any]:
        if self.direction == "request":
            return decode_request(frame).body
        return decode_response(frame, self.api, self.version).body


MESSAGES = [
    Message(api, version, direction)
    for api in APIS.values()
    for direction in ("request", "response")
    for version in range(api.version_min, api.version_max + 1)
]


def name_of(message: Message) -> str:
    return f"{message.api.name}-{message.direction}-{message.version}"


def default_of(field: Field) -> Any:
    if field.type == "struct" and not field.is_array:
        return {each.name: default_of(each) for each in field.fields}
    return field.default


def bodies(
    fields: Sequence[Field], version: int, *, tagged: bool = True
) -> st.SearchStrategy[dict[str, Any]]:
    """What a decoder gives: each field, those that the version lacks at their defaults, and unless
    `tagged` also all that are tagged.
    """
    return st.fixed_dictionaries(
        {
            each.name: st.builds(default_of, st.just(each))
            if version not in each.versions or (version in each.tagged and not tagged)
            else _values(each, version, tagged=tagged)
            for each in fields
        }
    )


def _values(field: Field, version: int, *, tagged: bool) -> st.SearchStrategy[Any]:
    one = _elements(field, version, tagged=tagged)
    values = st.lists(one, max_size=3) if field.is_array else one
    if version in field.tagged:
        values = st.builds(default_of, st.just(field)) | values
    return st.none() | values if version in field.nullable else values


def _elements(field: Field, version: int, *, tagged: bool) -> st.SearchStrategy[Any]:
    if field.type in WIDTHS:
        half = 1 << WIDTHS[field.type] - 1
        return st.integers(-half, half - 1)
    if field.type == "struct":
        return bodies(field.fields, version, tagged=tagged)
    return {
        "bool": st.booleans(),
        "string": TEXT,
        "bytes": st.binary(max_size=20),
        "records": st.binary(max_size=300),
        "uuid": st.binary(min_size=16, max_size=16),
    }[field.type]


def filled(fields: Sequence[Field], version: int, chance: random.Random) -> dict[str, Any]:
    """As `bodies`, where many are wanted fast."""
    return {each.name: _filled(each, version, chance) for each in fields}


def _filled(field: Field, version: int, chance: random.Random) -> Any:
    if version not in field.versions:
        return default_of(field)
    if version in field.nullable and chance.random() < 0.2:
        return None
    if field.is_array:
        return [_filled_one(field, version, chance) for _ in range(chance.randrange(3))]
    return _filled_one(field, version, chance)


def _filled_one(field: Field, version: int, chance: random.Random) -> Any:
    if field.type in WIDTHS:
        return chance.randrange(1 << WIDTHS[field.type]) - (1 << WIDTHS[field.type] - 1)
    if field.type == "struct":
        return filled(field.fields, version, chance)
    if field.type == "bool":
        return chance.random() < 0.5
    if field.type == "string":
        return chance.choice(("", "a", "topic", "ü" * 80))
    return chance.randbytes(16 if field.type == "uuid" else chance.randrange(40))
