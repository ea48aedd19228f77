"""A row and a system become an endpoint: each argument of the handler gets the function that finds
it.
"""

import hashlib
import inspect
from collections.abc import Callable, Coroutine, Mapping
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl

import msgspec

from bastide.base.errors import Invalid
from bastide.base.gate import Caller
from bastide.base.manifest import Miswired
from bastide.base.routes.router import parameters_of
from bastide.base.routes.rows import (
    JSON,
    ONCE_KEY_MAX,
    Answer,
    Chunks,
    MediaRefused,
    Reply,
    Request,
    Row,
    Socket,
    Upgrade,
    fingerprint,
    json_reply,
)
from bastide.base.tx import Once

FORM = "application/x-www-form-urlencoded"
FORM_FIELDS_MAX = 64

Find = Callable[[Request], Any]
SCALARS = (str, int, float, bool)
ANSWERS = frozenset(get_args(Answer))


class Endpoint:
    """A row bound to its system: `endpoint(request)` is the answer, or a coroutine of which
    `answer_of` makes it; or it raises what it refuses.
    """

    def __init__(self, system: str, row: Row, served: object, granted: Mapping[type, object]):
        self.system = system
        self.row = row
        self.arguments = _arguments(row)
        self._served = served
        self._finds = [
            (n, self._find(n, hint, granted))
            for n, hint in self.arguments.items()
            if hint is not Socket
        ]
        self._missing = _defaults(row)
        self._queries = None if row.html else {n for n, h in self.arguments.items() if is_scalar(h)}
        self._awaits = inspect.iscoroutinefunction(row.handler)
        self.body_type = next((h for h in self.arguments.values() if _is_struct(h)), None)
        self.takes_body = self.body_type is not None
        self.streams = Chunks in self.arguments.values()
        self.upgrades = row.protocols is not None
        self._handler = row.handler
        self._socket = next((n for n, h in self.arguments.items() if h is Socket), None)
        if self.upgrades != (self._socket is not None):
            raise Miswired(f"{system}.{row.name}: a `socket(...)` row takes a Socket, no other one")

    def __call__(self, request: Request) -> Answer | Coroutine[Any, Any, Any]:
        known = self._queries
        if request.query and known is not None and (unknown := request.query.keys() - known):
            raise Invalid(f"there is no parameter {min(unknown)[:100]!r}")
        found = {}
        for name, find in self._finds:
            value = find(request)
            if value is not MISSING:
                found[name] = value
            elif name not in self._missing:
                raise Invalid(f"the parameter {name!r} is missing")
        if self._socket is not None:
            return self._upgrade(self._socket, found)
        answer = self._handler(self._served, **found)
        if self._awaits:
            coming: Coroutine[Any, Any, Any] = answer
            return coming
        return self.answer_of(answer)

    def answer_of(self, returned: Any) -> Answer:
        """What the handler returned, in the end, as it is sent."""
        if type(returned) in ANSWERS:
            answer: Answer = returned
            return answer
        if returned is None:
            return Reply(204, headers=self.row.headers)
        return json_reply(returned, self.row.status, self.row.headers)

    def _upgrade(self, name: str, found: Mapping[str, Any]) -> Upgrade:
        async def run(socket: Socket) -> None:
            await self._handler(self._served, **found, **{name: socket})

        return Upgrade(run, self.row.protocols or ())

    def _find(self, name: str, hint: Any, granted: Mapping[type, object]) -> Find:
        row = self.row
        if name in parameters_of(row.path):
            return _path_finder(name, hint)
        if hint is Caller:
            return lambda request: request.caller
        if hint is Request:
            return lambda request: request
        if hint is Chunks:
            return lambda request: request.chunks
        if hint in granted:
            return lambda request: granted[hint]
        if reply := once_type(hint):
            return self._once_finder(reply)
        if _is_struct(hint):
            return _body_finder(hint, form=row.form)
        if is_scalar(hint):
            return _query_finder(name, hint)
        raise Miswired(f"{self.system}.{row.name}: nothing fills {name}: {hint}")

    def _once_finder(self, reply: type) -> Find:
        if not self.row.once:
            raise Miswired(f"{self.system}.{self.row.name} takes Once: say once=True in its row")
        door = f"{self.system}.{self.row.name}"

        def find(request: Request) -> Once[Any] | None:
            key = request.headers.get("idempotency-key")
            if key is None:
                return None
            if not 1 <= len(key) <= ONCE_KEY_MAX or not key.isascii() or not key.isprintable():
                raise Invalid(f"Idempotency-Key takes 1 to {ONCE_KEY_MAX} printable characters")
            caller = request.caller
            anybody = f"at {caller.address}"
            who = f"user {caller.user}" if caller.user else caller.credential or anybody
            named = hashlib.blake2b(f"{door}\0{who}\0{key}".encode(), digest_size=16).hexdigest()
            return Once(named, fingerprint(request), reply)

        return find


class _Missing:
    """Stands where the request has nothing for an argument."""


MISSING = _Missing()


def _arguments(row: Row) -> Mapping[str, Any]:
    hints = get_type_hints(row.handler, include_extras=True)
    names = list(inspect.signature(row.handler).parameters)[1:]
    if unannotated := [n for n in names if n not in hints]:
        raise Miswired(f"{row.name}: annotate {', '.join(unannotated)}")
    if lost := parameters_of(row.path) - set(names):
        raise Miswired(f"{row.name}: {row.path} has {', '.join(sorted(lost))}, its handler not")
    bodies = [n for n in names if _is_struct(hints[n])]
    if len(bodies) > 1:
        raise Miswired(f"{row.name}: one Struct comes from the body, not {', '.join(bodies)}")
    return {name: hints[name] for name in names}


def _defaults(row: Row) -> set[str]:
    parameters = inspect.signature(row.handler).parameters.values()
    return {p.name for p in parameters if p.default is not inspect.Parameter.empty}


def _is_struct(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct) and hint is not Caller


def is_scalar(hint: Any) -> bool:
    inner = [a for a in get_args(hint) if a is not NoneType]
    if get_origin(hint) in (Union, UnionType):
        return all(is_scalar(a) for a in inner)
    return (
        (isinstance(hint, type) and issubclass(hint, SCALARS))
        or hasattr(hint, "__metadata__")
        or str(get_origin(hint)) == "typing.Literal"
    )


def once_type(hint: Any) -> Any:
    for one in (hint, *get_args(hint)):
        if get_origin(one) is Once:
            return get_args(one)[0]
    return None


def _path_finder(name: str, hint: Any) -> Find:
    if hint is str:
        return lambda request: request.params[name]
    return lambda request: converted(request.params[name], hint, name)


def _query_finder(name: str, hint: Any) -> Find:
    def find(request: Request) -> Any:
        text = request.query.get(name)
        return MISSING if text is None else converted(text, hint, name)

    return find


def _body_finder(type_: type[msgspec.Struct], *, form: bool) -> Find:
    if not type_.__struct_config__.forbid_unknown_fields:
        raise Miswired(f"{type_.__name__} comes from a body: it must forbid unknown fields")
    decoder = msgspec.json.Decoder(type_)

    def find(request: Request) -> Any:
        media = request.headers.get("content-type", "")
        if media != JSON:  # as it is mostly written
            media = media.partition(";")[0].strip().lower()
            if form and media == FORM:
                return _from_form(request.body, type_)
            if media != JSON:
                raise MediaRefused(f"a body of {media or 'no type'}; {JSON} is taken")
        try:
            return decoder.decode(request.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Invalid(f"the body is not as wanted: {error}") from error

    return find


def _from_form(body: bytes, type_: type[msgspec.Struct]) -> Any:
    """An HTML form: empty fields are absent ones, and everything is text."""
    try:
        pairs = parse_qsl(body.decode("ascii"), max_num_fields=FORM_FIELDS_MAX, errors="strict")
        return msgspec.convert(dict(pairs), type_, strict=False)
    except (ValueError, msgspec.MsgspecError) as error:
        raise Invalid(f"the form is not as wanted: {error}") from error


def converted(text: str, hint: Any, name: str) -> Any:
    try:
        return msgspec.convert(text, hint, strict=False)
    except msgspec.ValidationError as error:
        raise Invalid(f"{name}={text[:100]!r}: {error}") from error
