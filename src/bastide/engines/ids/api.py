"""The mint over HTTP: ask for an id, get an id. Every 64-bit id is a string in JSON.

What counts rows (numbers, codes, keys) is for the operator: series are the town's own, and a
stranger could use them up.
"""

import asyncio
from typing import Annotated
from uuid import UUID

import msgspec

from bastide.base.gate import anyone, operator
from bastide.base.routes.rows import route
from bastide.engines.ids.contract import (
    ClockBehind,
    FencePassed,
    LengthOver,
    NotAnId,
    SeriesOver,
    SeriesSpent,
    SeriesWrong,
)
from bastide.engines.ids.service.id_mint import IdMint

COUNT_MAX = 10_000
CODE_LENGTH = 7

Count = Annotated[int, msgspec.Meta(ge=1, le=COUNT_MAX)]
NO_STORE = {"cache-control": "no-store"}
MINTING = (FencePassed, ClockBehind)
COUNTING = (SeriesWrong, SeriesOver)


class NewIds(msgspec.Struct, frozen=True):
    ids: list[str]


class NewUuid(msgspec.Struct, frozen=True):
    uuid: UUID


class NewText(msgspec.Struct, frozen=True):
    text: str


class Number(msgspec.Struct, frozen=True):
    number: str


class Code(msgspec.Struct, frozen=True):
    code: str


class Key(msgspec.Struct, frozen=True):
    key: str


class WhatAnIdSays(msgspec.Struct, frozen=True):
    id: str
    at_ms: int
    worker: int
    sequence: int


async def new_ids(ids: IdMint, count: Count = 1) -> NewIds:
    made: list[str] = []
    while len(made) < count:
        made += map(str, ids.block(count - len(made)))
        await asyncio.sleep(0)  # a block may have waited a millisecond; others are served now
    return NewIds(made)


async def new_text(ids: IdMint) -> NewText:
    return NewText(ids.text())


async def new_uuid7(ids: IdMint) -> NewUuid:
    return NewUuid(ids.uuid7())


async def new_timeuuid(ids: IdMint) -> NewUuid:
    return NewUuid(ids.timeuuid())


async def random_code(ids: IdMint, length: int = CODE_LENGTH) -> Code:
    return Code(ids.random(length=length))


async def decode_id(ids: IdMint, id_: int) -> WhatAnIdSays:
    said = ids.decode(id_)
    return WhatAnIdSays(str(id_), said.at_ms, said.worker, said.sequence)


async def next_number(ids: IdMint, series: str) -> Number:
    return Number(str(await ids.number(series)))


async def next_code(ids: IdMint, series: str, length: int = CODE_LENGTH) -> Code:
    return Code(await ids.code(series, length=length))


async def next_key(ids: IdMint, series: str, length: int = CODE_LENGTH) -> Key:
    return Key(await ids.key(series, length=length))


COUNTED_CODES = (*COUNTING, LengthOver, SeriesSpent)

DOORS = (
    route("GET", "/api/new", new_ids, allow=anyone, headers=NO_STORE, refusals=MINTING),
    route("GET", "/api/text", new_text, allow=anyone, headers=NO_STORE, refusals=MINTING),
    route("GET", "/api/uuid7", new_uuid7, allow=anyone, headers=NO_STORE),
    route("GET", "/api/timeuuid", new_timeuuid, allow=anyone, headers=NO_STORE, refusals=MINTING),
    route("GET", "/api/random", random_code, allow=anyone, headers=NO_STORE, refusals=[LengthOver]),
    route("GET", "/api/decode/{id_}", decode_id, allow=anyone, refusals=[NotAnId]),
    route("POST", "/api/number/{series}", next_number, allow=operator, refusals=COUNTING),
    route("POST", "/api/code/{series}", next_code, allow=operator, refusals=COUNTED_CODES),
    route("POST", "/api/key/{series}", next_key, allow=operator, refusals=COUNTED_CODES),
)
