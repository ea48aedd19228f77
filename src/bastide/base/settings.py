"""Settings come from the environment and from nowhere else, as one frozen Struct per system.

A field is described where it stands: `Annotated[int, Meta(ge=1, description="...")]`; the table in
the system's README and `bastide env` are made from it. `BASTIDE_SHORTENER_CODE_LENGTH=7` fills
`code_length` of the shortener. A variable that nothing reads is refused with the nearest name,
since a misspelt limit that is silently ignored is worse than a town that does not start.
"""

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar, get_type_hints
from urllib.parse import parse_qsl, urlsplit

import msgspec

from bastide.base.errors import Invalid

T = TypeVar("T")
StructT = TypeVar("StructT", bound=msgspec.Struct)

PREFIX = "BASTIDE_"


class Setting(msgspec.Struct, frozen=True):
    """One line of `bastide env`."""

    variable: str
    default: str
    meaning: str
    value: str = ""


def prefix_of(system: str) -> str:
    return f"{PREFIX}{system.upper()}"


def read(type_: type[StructT], prefix: str, environ: Mapping[str, str]) -> StructT:
    """The `type_` that `environ` describes; an absent field keeps its default.

    Raises:
        Invalid: a value has the wrong type or is out of bounds; the variable is named.
    """
    found = {}
    for field in msgspec.structs.fields(type_):
        variable = f"{prefix}_{field.name.upper()}"
        if variable in environ:
            found[field.name] = _converted(environ[variable], field.type, variable)
    return type_(**found)


def _converted(text: str, type_: Any, variable: str) -> Any:
    try:
        return msgspec.convert(text, type_, strict=False)
    except msgspec.ValidationError as error:
        raise Invalid(f"{variable}={text}: {error}") from error


def describe(type_: type[msgspec.Struct], prefix: str) -> Sequence[Setting]:
    """The settings that `type_` reads, in its order."""
    hints = get_type_hints(type_, include_extras=True)
    return [
        Setting(f"{prefix}_{field.name.upper()}", _default(field), _description(hints[field.name]))
        for field in msgspec.structs.fields(type_)
    ]


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.default is msgspec.NODEFAULT:
        return ""
    return str(field.default).lower() if isinstance(field.default, bool) else str(field.default)


def _description(hint: Any) -> str:
    metas = (m for m in getattr(hint, "__metadata__", ()) if isinstance(m, msgspec.Meta))
    return next((m.description for m in metas if m.description), "")


def refuse_unread(environ: Mapping[str, str], known: Collection[str]) -> None:
    """
    Raises:
        Invalid: `environ` has a `BASTIDE_*` variable that nothing reads; the nearest name is given.
    """
    names = [name.removeprefix(PREFIX) for name in known]
    for variable in sorted(environ):
        if variable.startswith(PREFIX) and variable not in known:
            near = get_close_matches(variable.removeprefix(PREFIX), names, 1)
            hint = f"did you mean {PREFIX}{near[0]}" if near else "`bastide env` lists what is read"
            raise Invalid(f"{variable} is set, and nothing reads it; {hint}")


class BackendUrl(msgspec.Struct, frozen=True):
    """`postgres://user@host:5432/town?pool_max=20`, split once. `text` keeps its secrets: show
    `safe`.
    """

    text: str
    scheme: str
    location: str
    query: Mapping[str, str]

    @property
    def safe(self) -> str:
        """The URL without password and options, for logs and pages."""
        parts = urlsplit(self.text)
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}{parts.path}"

    def options(self, type_: type[T]) -> T:
        """The query as a `type_` (a Struct with `forbid_unknown_fields`).

        Raises:
            Invalid: an option is unknown or has a wrong value.
        """
        try:
            return msgspec.convert(self.query, type_, strict=False)
        except msgspec.ValidationError as error:
            raise Invalid(f"{self.safe}: {error}") from error


def parse_url(text: str) -> BackendUrl:
    """
    Raises:
        Invalid: `text` is no URL with a scheme, or has an option twice.
    """
    try:
        parts = urlsplit(text)
        for host in parts.netloc.rpartition("@")[2].split(","):  # some engines are several servers
            _ = urlsplit(f"//{host}").port
    except ValueError as error:  # which may quote a part of the password
        raise Invalid("this is no URL: percent-encode what is special in its password") from error
    if not parts.scheme:
        raise Invalid("this is no URL; one like sqlite:// or postgres://host/name is expected")
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = dict(pairs)
    if len(query) != len(pairs):
        raise Invalid(f"{text.partition('?')[0]}: an option is given twice")
    return BackendUrl(text, parts.scheme, parts.netloc + parts.path, query)
