"""Operations as they happen, in order, and as lines of JSON to check them again.

    recorder = Recorder()
    call = recorder.invoke("c1", "write", 1.0, key="x", argument=5)
    call.returned(1.2)                # or call.failed(1.2), or call.unknown(1.2)
    history = recorder.history()      # what has not ended is of unknown outcome

The order of events is told by their times alone. Many things happen at one time where time is
virtual, or coarse, so each event is stamped later than the one recorded before it, by the smallest
step that a float can make if need be.
"""

import math
from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from bastide.parts.histories.contract import (
    OPERATIONS_MAX,
    HistoryFull,
    Operation,
    Outcome,
    RecordInvalid,
)

_Record = TypeVar("_Record", bound=Struct)


class Recorder:
    """The history of all clients of one clock."""

    def __init__(self) -> None:
        self._operations: list[Operation] = []
        self._latest_s = -math.inf

    def invoke(
        self, process: str, kind: str, at_s: float, *, key: str = "", argument: object = None
    ) -> "Call":
        """Raises HistoryFull, and RecordInvalid if JSON could not hold `argument`."""
        number = len(self._operations)
        if number == OPERATIONS_MAX:
            raise HistoryFull
        operation = Operation(
            number=number,
            process=process,
            kind=kind,
            key=key,
            argument=frozen(argument),
            invoked=self._stamp(at_s),
        )
        self._operations.append(operation)
        return Call(self, number)

    def history(self) -> Sequence[Operation]:
        return tuple(self._operations)

    def _end(self, number: int, at_s: float, outcome: Outcome, result: object) -> None:
        operation = self._operations[number]
        assert operation.returned is None, "a call ends once"
        result = frozen(result)
        self._operations[number] = replace(
            operation, returned=self._stamp(at_s), outcome=outcome, result=result
        )

    def _stamp(self, at_s: float) -> float:
        self._latest_s = max(float(at_s), math.nextafter(self._latest_s, math.inf))
        return self._latest_s


class Call:
    """An operation that was invoked: it ends once, in one of three ways, or never."""

    def __init__(self, recorder: Recorder, number: int) -> None:
        self._recorder = recorder
        self.number = number

    def returned(self, at_s: float, result: object = None) -> None:
        """It happened. Raises RecordInvalid if JSON could not hold `result`."""
        self._recorder._end(self.number, at_s, "ok", result)

    def failed(self, at_s: float) -> None:
        """It did not happen and never will."""
        self._recorder._end(self.number, at_s, "failed", None)

    def unknown(self, at_s: float) -> None:
        """Nobody waits for it any more; it may have happened, or may yet."""
        self._recorder._end(self.number, at_s, "unknown", None)


def merged(histories: Iterable[Sequence[Operation]]) -> Sequence[Operation]:
    """Of several recorders of one clock, numbered anew. What happened at one time counts as
    concurrent.
    """
    together = sorted((o for history in histories for o in history), key=lambda o: o.invoked)
    return tuple(replace(operation, number=n) for n, operation in enumerate(together))


def lines_of(records: Iterable[Struct]) -> bytes:
    """One line of JSON for each."""
    return b"".join(msgspec.json.encode(record) + b"\n" for record in records)


def records_of(lines: bytes, of: type[_Record]) -> Sequence[_Record]:
    """What `lines_of` wrote. Raises RecordInvalid for what is none of them, with its line."""
    found = []
    decoder = msgspec.json.Decoder(of)
    for number, line in enumerate(lines.splitlines(), 1):
        try:
            found.append(decoder.decode(line))
        except msgspec.MsgspecError as error:
            raise RecordInvalid(f"line {number} is no {of.__name__}: {error}") from None
    return tuple(_refrozen(record) for record in found)


def frozen(value: object) -> object:
    """Lists as tuples, all the way down, so that a value is never changed and can be a state."""
    if isinstance(value, list | tuple):
        return tuple(frozen(each) for each in value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise RecordInvalid(f"a value of {type(value).__name__}; JSON's scalars and arrays are taken")


def _refrozen(record: _Record) -> _Record:
    if isinstance(record, Operation):
        return replace(record, argument=frozen(record.argument), result=frozen(record.result))
    return record
