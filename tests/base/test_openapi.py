"""OpenAPI from the rows: a foreign reader takes it, and it says what the doors do."""

from typing import Annotated, Any

import jsonschema_rs
import msgspec
import pytest
import schemathesis

from bastide.base.errors import NotFound
from bastide.base.gate import anyone
from bastide.base.routes.binding import Endpoint
from bastide.base.routes.openapi import openapi
from bastide.base.routes.rows import Reply, route
from bastide.base.tx import Once
from bastide.testing.town import raised


class Grain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: Annotated[str, msgspec.Meta(max_length=10)]


class Flour(msgspec.Struct, frozen=True):
    kind: str


class NoMill(NotFound):
    pass


async def grind(_: object, grain: Grain, once: Once[Flour] | None) -> Flour:
    """Grain becomes flour.

    Slowly.
    """
    return Flour(grain.kind)


def read(_: object, mill: int, fine: bool = False) -> list[Flour]: ...
def fetch(_: object, rest: str) -> Reply: ...
def remove(_: object, mill: int) -> None: ...
def page(_: object) -> Reply: ...


ROWS = (
    route("POST", "/flour", grind, allow=anyone, status=201, once=True),
    route("GET", "/mills/{mill}", read, allow=anyone, refusals=[NoMill]),
    route("DELETE", "/mills/{mill}", remove, allow=anyone),
    route("GET", "/files/{rest:path}", fetch, allow=anyone),
    route("GET", "/", page, allow=anyone, html=True),
)


@pytest.fixture
def document() -> dict[str, Any]:
    mounted = [("/mill", Endpoint("mill", row, None, {})) for row in ROWS]
    return msgspec.to_builtins(openapi("mills", "1.0", mounted))


def test_a_foreign_reader_takes_the_document(document: dict[str, Any]) -> None:
    operations = list(schemathesis.openapi.from_dict(document).get_all_operations())
    assert [(o.ok().method, o.ok().path) for o in operations] == [
        ("post", "/mill/flour"),
        ("get", "/mill/mills/{mill}"),
        ("delete", "/mill/mills/{mill}"),
        ("get", "/mill/files/{rest}"),
    ]
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.validator_for(schema)


def test_pages_are_left_out(document: dict[str, Any]) -> None:
    assert "/mill/" not in document["paths"]


def test_an_operation_says_what_it_takes_and_gives(document: dict[str, Any]) -> None:
    made = document["paths"]["/mill/flour"]["post"]
    assert made["operationId"] == "mill_grind"
    assert made["summary"] == "Grain becomes flour."
    body = made["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/Grain"}
    assert document["components"]["schemas"]["Grain"]["additionalProperties"] is False
    [key] = made["parameters"]
    assert (key["name"], key["in"], key["required"]) == ("Idempotency-Key", "header", False)
    assert made["responses"].keys() == {"201", "400", "413", "415", "500", "503"}


def test_parameters_say_where_they_stand_and_whether_they_must(document: dict[str, Any]) -> None:
    found = document["paths"]["/mill/mills/{mill}"]["get"]["parameters"]
    assert [(p["name"], p["in"], p["required"]) for p in found] == [
        ("mill", "path", True),
        ("fine", "query", False),
    ]
    assert found[0]["schema"] == {"type": "integer"}


def test_refusals_that_a_row_names_are_named(document: dict[str, Any]) -> None:
    responses = document["paths"]["/mill/mills/{mill}"]["get"]["responses"]
    assert responses["404"]["description"] == "NoMill"
    assert "application/problem+json" in responses["404"]["content"]
    assert "204" in document["paths"]["/mill/mills/{mill}"]["delete"]["responses"]


async def test_the_document_of_the_whole_town_is_valid() -> None:
    async with raised() as town:
        client = await town.client()
        document = (await client.get("/schema")).json()
    operations = list(schemathesis.openapi.from_dict(document).get_all_operations())
    assert all(operation.ok() for operation in operations)
    names = [o["operationId"] for path in document["paths"].values() for o in path.values()]
    assert len(names) == len(set(names)), "a client generator needs each name once"
