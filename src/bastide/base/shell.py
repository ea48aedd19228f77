"""What the commands of systems share: they ask a town by HTTP, and print what it says."""

from argparse import ArgumentParser
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from bastide.base.errors import Unavailable, refusal_of

if TYPE_CHECKING:  # it takes a tenth of a second to import
    from httpx import AsyncClient

PAGE = "100"


async def send(
    client: "AsyncClient",
    method: str,
    path: str,
    *,
    body: Mapping[str, Any] | None = None,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Any:
    """The reply's JSON, None if it has none.

    Raises:
        Refusal: as the town says it. Unavailable: it does not answer; the outcome is unknown.
    """
    from httpx import TransportError

    content = None if body is None else msgspec.json.encode(body)
    typed = {} if body is None else {"content-type": "application/json"}
    sent = {**typed, **(headers or {})}
    try:
        reply = await client.request(method, path, content=content, params=params, headers=sent)
    except TransportError as error:
        raise Unavailable(f"the town does not answer: {error}", outcome="unknown") from error
    if not reply.is_success:
        raise refusal_of(reply.status_code, reply.content)
    return reply.json() if reply.content else None


async def items(client: "AsyncClient", path: str) -> AsyncIterator[Any]:
    """Those of all pages of a list."""
    query = {"limit": PAGE}
    while True:
        page = await send(client, "GET", path, params=query)
        for one in page["items"]:
            yield one
        if page["next"] is None:
            return
        query["cursor"] = page["next"]


def declare_json(parser: ArgumentParser, meaning: str = "for a program") -> None:
    parser.add_argument("--json", action="store_true", help=meaning)


def print_json(found: Any) -> None:
    print(msgspec.json.format(msgspec.json.encode(found)).decode())


def print_columns(rows: Sequence[Sequence[str]]) -> None:
    """The first is their head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
