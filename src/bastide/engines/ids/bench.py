"""How fast ids are made, beside the ways that were rejected.

one_by_one   `new()` as `use(Ids)` hands it out, counted, and without the counting; uuid4 beside it
blocks       whole milliseconds: the share of 4,096 a millisecond that is sustained
modes        what the textbooks compare, each as it is: a row a number, a counter's row, a random
             UUID, and Redis's INCR where a server is installed

Each workload takes its turns in alternation with its peers, and gives medians.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from typing import Protocol
from uuid import uuid4

from bastide.base.manifest import Bench
from bastide.base.metrics import Registry, counted
from bastide.base.rt import runtime
from bastide.engines.ids.core.layout import BASTIDE
from bastide.engines.ids.model import Lease
from bastide.engines.ids.service.minter import Minter

TURNS = 5
FENCE_MS = BASTIDE.last_ms
ONES = 2_000  # calls between two looks at the clock
COUNTER_BLOCK = 1_000


class Minting(Protocol):
    """The part of Ids that needs no store."""

    def new(self) -> int: ...

    def block(self, count: int) -> Sequence[int]: ...


Turn = Callable[[float], float]  # for some seconds; a figure a second


async def one_by_one(directory: Path, seconds: float) -> Mapping[str, float]:
    minter = a_minter()
    turns: Mapping[str, Turn] = {
        "new_counted_per_s": repeated(as_handed_out(minter).new),
        "new_raw_per_s": repeated(minter.new),
        "text_per_s": repeated(minter.text),
        "uuid7_per_s": repeated(minter.uuid7),
        "peer_uuid4_per_s": repeated(uuid4),
    }
    return in_turns(turns, seconds)


async def blocks(directory: Path, seconds: float) -> Mapping[str, float]:
    minting = as_handed_out(a_minter())
    found = dict(in_turns({"block_ids_per_s": whole_milliseconds(minting)}, seconds))
    found["block_share_of_4096_per_ms_ratio"] = found["block_ids_per_s"] / 4_096_000
    return found


async def modes(directory: Path, seconds: float) -> Mapping[str, float]:
    with ExitStack() as stack:
        database = stack.enter_context(closing(peer_database(directory / "peer.db")))
        turns: Mapping[str, Turn] = {
            "snowflake_per_s": repeated(as_handed_out(a_minter()).new),
            "random_uuid_per_s": repeated(uuid4),
            "auto_increment_per_s": repeated(auto_increment(database), calls=1),
            "central_counter_per_s": repeated(central_counter(database, 1), calls=1),
            "counter_by_blocks_per_s": repeated(in_blocks(database), calls=COUNTER_BLOCK),
        }
        return in_turns(turns, seconds)


def a_minter() -> Minter:
    minter = Minter(BASTIDE, on_backward_clock="continue")
    minter.hold(Lease(worker=1, holder="bench", floor_ms=0, fence_ms=FENCE_MS))
    return minter


def as_handed_out(minter: Minter) -> Minting:
    return counted(
        Minting,
        minter,
        system="ids",
        client="bench",
        registry=Registry(),
        monotonic=runtime.current().clock.monotonic,
    )


def in_turns(turns: Mapping[str, Turn], seconds: float) -> Mapping[str, float]:
    """The median of TURNS turns of each, one after another, `seconds` for all turns of one."""
    found: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(TURNS):
        for name, turn in turns.items():
            found[name].append(turn(seconds / TURNS))
    return {name: median(figures) for name, figures in found.items()}


def repeated(make: Callable[[], object], *, calls: int = ONES) -> Turn:
    def turn(seconds: float) -> float:
        began_s = now_s = runtime.monotonic()
        made = 0
        while now_s < began_s + seconds:
            for _ in range(calls):
                make()
            made += calls
            now_s = runtime.monotonic()
        return made / (now_s - began_s)

    return turn


def whole_milliseconds(minting: Minting) -> Turn:
    def turn(seconds: float) -> float:
        began_s = now_s = runtime.monotonic()
        made = 0
        while now_s < began_s + seconds:
            made += len(minting.block(4096))
            now_s = runtime.monotonic()
        return made / (now_s - began_s)

    return turn


def peer_database(path: Path) -> sqlite3.Connection:
    """The standard library's, with a commit as durable as ours."""
    database = sqlite3.connect(path, isolation_level=None)
    database.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
        "CREATE TABLE tickets (id INTEGER PRIMARY KEY AUTOINCREMENT);"
        "CREATE TABLE counter (next INTEGER NOT NULL); INSERT INTO counter VALUES (0);"
    )
    return database


def auto_increment(database: sqlite3.Connection) -> Callable[[], object]:
    """A row a number, a commit a row."""
    return lambda: database.execute("INSERT INTO tickets DEFAULT VALUES").lastrowid


def central_counter(database: sqlite3.Connection, count: int) -> Callable[[], int]:
    """The next `count` numbers of the one counter: the last of them."""

    def make() -> int:
        (number,) = database.execute(
            "UPDATE counter SET next = next + ? RETURNING next", (count,)
        ).fetchone()
        return int(number)

    return make


def in_blocks(database: sqlite3.Connection) -> Callable[[], int]:
    """The counter, asked once in COUNTER_BLOCK numbers."""
    claim, left = central_counter(database, COUNTER_BLOCK), iter(range(0))

    def make() -> int:
        nonlocal left
        number = next(left, None)
        if number is None:
            last = claim()
            left = iter(range(last - COUNTER_BLOCK + 1, last))
            number = last - COUNTER_BLOCK
        return number

    return make


BENCHES = (
    Bench("one-by-one", "ids a second, one call each; the peer is uuid4", one_by_one),
    Bench("blocks", "ids a second by blocks; a worker can make 4,096,000", blocks),
    Bench("modes", "the ways to make an id, each committing as durably as it must", modes),
)
