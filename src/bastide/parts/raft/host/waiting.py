"""Who waits for a group: proposals for their entry, reads for their index."""

from asyncio import Future
from bisect import insort
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import msgspec

from bastide.base.errors import Refusal
from bastide.parts.raft.contract import Entry, LeadershipLost

R = TypeVar("R")


class Proposals(Generic[R]):
    """In the order of their indexes, since a leader gives these out in order and all who wait are
    refused when it falls.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, int, Future[R]]] = deque()

    def add(self, index: int, term: int, future: "Future[R]") -> None:
        self._waiting.append((index, term, future))

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def applied(self, entries: Sequence[Entry], results: Sequence[R]) -> None:
        waiting = self._waiting
        if not waiting or entries[-1].index < waiting[0][0]:
            return
        for entry, result in zip(entries, results, strict=True):
            while waiting and waiting[0][0] <= entry.index:
                index, term, future = waiting.popleft()
                if future.done():  # who asked has gone
                    continue
                if (index, term) != (entry.index, entry.term):
                    future.set_exception(LeadershipLost())
                elif isinstance(result, Refusal):
                    future.set_exception(result)
                else:
                    future.set_result(result)

    def refuse(self, refusal: Callable[[], Refusal]) -> None:
        waiting, self._waiting = self._waiting, deque()
        for _, _, future in waiting:
            if not future.done():
                future.set_exception(refusal())


class Readers(msgspec.Struct):
    """Those of one tick, who share a round. `until_s`: asked again until then."""

    futures: "list[Future[int]]"
    is_by_lease: bool
    until_s: float

    def answer(self, index: int) -> None:
        for future in self.futures:
            if not future.done():
                future.set_result(index)

    def refuse(self, refusal: Callable[[], Refusal]) -> None:
        for future in self.futures:
            if not future.done():
                future.set_exception(refusal())


class Reads:
    """`asked` by token; and those whose index is known and not applied yet."""

    def __init__(self) -> None:
        self.asked: dict[int, Readers] = {}
        self._behind: list[tuple[int, int, Readers]] = []  # ascending; the token breaks ties

    def answer_at(self, index: int, token: int, readers: Readers, *, applied: int) -> None:
        if index <= applied:
            readers.answer(index)
        else:
            insort(self._behind, (index, token, readers))

    def applied(self, index: int) -> None:
        behind = self._behind
        while behind and behind[0][0] <= index:
            at, _, readers = behind.pop(0)
            readers.answer(at)

    def refuse(self, refusal: Callable[[], Refusal]) -> None:
        everyone: list[Readers] = [*self.asked.values(), *(each for _, _, each in self._behind)]
        self.asked.clear()
        self._behind.clear()
        for readers in everyone:
            readers.refuse(refusal)
