"""Protobuf's messages, made from the table when the first one is asked for.

There is nothing to generate and no generated file: the table is parsed, and protobuf, which is
imported no earlier, makes classes of it. A town that nobody asks by etcd's API pays nothing.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any

import msgspec

from bastide.engines.coord.core.protocol.table import MESSAGES, METHODS

_SCALARS: Mapping[str, int] = {  # their numbers in FieldDescriptorProto.Type
    "int64": 3,
    "uint64": 4,
    "bool": 8,
    "string": 9,
    "bytes": 12,
    "uint32": 13,
}
_MESSAGE, _ENUM = 11, 14
_OPTIONAL, _REPEATED = 1, 3
HOME = "etcdserverpb"


class Method(msgspec.Struct, frozen=True):
    """`path` is that of gRPC; `json_paths` those below /v3/ in the gateway."""

    service: str
    name: str
    request: Any
    reply: Any
    takes_stream: bool
    gives_stream: bool
    json_paths: tuple[str, ...]

    @property
    def path(self) -> str:
        return f"/{self.service}/{self.name}"


@cache
def messages() -> Any:
    """All classes, by their short names: those are different in all packages."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    pool = (
        descriptor_pool.DescriptorPool()
    )  # our own: another library may have etcd's messages in the common one
    names = SimpleNamespace()
    for package, text in MESSAGES.items():
        made = descriptor_pb2.FileDescriptorProto(
            name=f"{package}.proto", package=package, syntax="proto3"
        )
        made.dependency.extend(f"{p}.proto" for p in MESSAGES if f" {p}." in text)
        _declare(made, package, text)
        pool.Add(made)
        for message in made.message_type:
            found = pool.FindMessageTypeByName(f"{package}.{message.name}")
            setattr(names, message.name, message_factory.GetMessageClass(found))
    return names


@cache
def methods() -> Mapping[str, Method]:
    """By the path of gRPC."""
    made = (m for service, text in METHODS.items() for m in _methods_in(service, text))
    return {method.path: method for method in made}


def _methods_in(service: str, text: str) -> Iterator[Method]:
    for line in _lines(text):
        name, request, reply, *paths = line.split()
        yield Method(
            service,
            name,
            getattr(messages(), request.rstrip("*")),
            getattr(messages(), reply.rstrip("*")),
            request.endswith("*"),
            reply.endswith("*"),
            tuple(paths),
        )


def _declare(file: Any, package: str, text: str) -> None:
    enums = {}
    found = [line.partition(":")[::2] for line in _lines(text)]
    for name, _ in found:
        if name.startswith("enum "):
            enums[name.removeprefix("enum ")] = name
    at = {}
    for name, rest in found:
        if name not in enums.values():
            at[name] = file.message_type.add(name=name)
            _declare_fields(at[name], package, rest, enums)
    for name, rest in found:
        if name in enums.values():
            owner, _, own = name.removeprefix("enum ").rpartition(".")
            made = (at[owner].enum_type if owner else file.enum_type).add(name=own)
            for pair in rest.split():
                word, _, number = pair.partition("=")
                made.value.add(name=word, number=int(number))


def _declare_fields(message: Any, package: str, rest: str, enums: Mapping[str, str]) -> None:
    choices: list[str] = []
    for field in filter(None, map(str.strip, rest.split(","))):
        words, type_ = field.split()
        name, _, number = words.partition("=")
        choice, _, name = name.rpartition("/")
        made = message.field.add(name=name, number=int(number))
        made.label = _REPEATED if type_.endswith("*") else _OPTIONAL
        _set_type(made, package, type_.rstrip("*"), enums)
        if choice:
            if choice not in choices:
                choices.append(choice)
                message.oneof_decl.add(name=choice)
            made.oneof_index = choices.index(choice)


def _set_type(field: Any, package: str, type_: str, enums: Mapping[str, str]) -> None:
    if type_ in _SCALARS:
        field.type = _SCALARS[type_]
        return
    field.type = _ENUM if type_ in enums else _MESSAGE
    elsewhere = type_.partition(".")[0] in MESSAGES
    field.type_name = f".{type_}" if elsewhere else f".{package}.{type_}"


def _lines(text: str) -> Iterator[str]:
    """With those joined that go on."""
    line = ""
    for piece in text.splitlines():
        if piece.startswith(" "):
            line += piece
            continue
        if line:
            yield line
        line = piece
    if line:
        yield line
