"""OpenAPI 3.1 from the rows: what the doors do and what they say are one text."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from bastide.base.errors import Problem, Refusal
from bastide.base.routes.binding import Endpoint, is_scalar, once_type
from bastide.base.routes.router import parameters_of
from bastide.base.routes.rows import Reply, Stream, StreamsOver

NO_JSON = (Reply, Stream, NoneType)
ALWAYS = {400: "Invalid", 500: "Fault", 503: "Unavailable"}


def openapi(title: str, version: str, mounted: Iterable[tuple[str, Endpoint]]) -> Mapping[str, Any]:
    """The document for endpoints, each with the root it is mounted at. Pages are left out; of
    several roots the first is shown, since an operation has one name.
    """
    first = {id(endpoint): (root, endpoint) for root, endpoint in reversed(list(mounted))}
    shown = [one for one in reversed(first.values()) if one[1].row.listed]
    types = {t for _, e in shown for t in (e.body_type, _answer(e)) if t is not None} | {Problem}
    schemas, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    by_type = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for root, endpoint in shown:
        operations = paths.setdefault(root + _template(endpoint.row.path), {})
        operations[endpoint.row.method.lower()] = _operation(endpoint, by_type)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {"schemas": components},
    }


def _template(path: str) -> str:
    return path.replace(":path}", "}")


def _operation(endpoint: Endpoint, schemas: Mapping[Any, Any]) -> Mapping[str, Any]:
    row = endpoint.row
    made: dict[str, Any] = {
        "operationId": f"{endpoint.system}_{row.name}",
        "tags": [endpoint.system],
        "parameters": list(_parameters(endpoint)),
        "responses": _responses(endpoint, schemas),
    }
    if row.handler.__doc__:
        made["summary"] = inspect.cleandoc(row.handler.__doc__).splitlines()[0]
    if body := endpoint.body_type:
        content = {"application/json": {"schema": schemas[body]}}
        made["requestBody"] = {"required": True, "content": content}
    elif endpoint.streams:
        made["requestBody"] = {"required": True, "content": {"*/*": {}}}
    return made


def _parameters(endpoint: Endpoint) -> Iterable[Mapping[str, Any]]:
    row, signature = endpoint.row, inspect.signature(endpoint.row.handler)
    for name, hint in endpoint.arguments.items():
        in_path = name in parameters_of(row.path)
        if in_path or is_scalar(hint):
            required = in_path or signature.parameters[name].default is inspect.Parameter.empty
            schema = msgspec.json.schema(hint)
            where = "path" if in_path else "query"
            yield {"name": name, "in": where, "required": required, "schema": schema}
        elif once_type(hint):
            schema = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}
            yield {"name": "Idempotency-Key", "in": "header", "required": False, "schema": schema}


def _responses(endpoint: Endpoint, schemas: Mapping[Any, Any]) -> Mapping[str, Any]:
    row, answer = endpoint.row, _answer(endpoint)
    good: dict[str, Any] = {"description": "Done"}
    if answer is not None:
        good["content"] = {"application/json": {"schema": schemas[answer]}}
    status = 204 if _returns(endpoint) is NoneType else row.status
    done = {str(one): good for one in (status, *row.also)}
    problem = {"application/problem+json": {"schema": schemas[Problem]}}
    refused = {**ALWAYS, **dict(_statuses(row.refusals))}
    if _returns(endpoint) is Stream:
        refused[StreamsOver.status] = StreamsOver.__name__
    if endpoint.takes_body:
        refused |= {413: "TooLarge", 415: "MediaRefused"}
    bad = {str(s): {"description": name, "content": problem} for s, name in sorted(refused.items())}
    return {**done, **bad}


def _statuses(refusals: Sequence[type[Exception]]) -> Iterable[tuple[int, str]]:
    for error in refusals:
        assert issubclass(error, Refusal)
        yield error.status, error.__name__


def _returns(endpoint: Endpoint) -> Any:
    return get_type_hints(endpoint.row.handler).get("return", NoneType)


def _answer(endpoint: Endpoint) -> Any:
    """The type that is sent as JSON, if one is: a union is read without what is none."""
    returns = _returns(endpoint)
    if get_origin(returns) in (Union, UnionType):
        returns = next((a for a in get_args(returns) if a not in NO_JSON), Reply)
    return None if returns in NO_JSON else returns
