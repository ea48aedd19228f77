"""What was recorded of a run, and what the oracles say of it.

    recorder.Recorder ──► [Operation, ...] ──► core.linearizability.check    ──► Verdict
                                           ──► core.appends.check            ──► [Finding, ...]
                                           ──► core.queues, core.progress    ──► [Finding, ...]
                          [Watch, ...]     ──► core.watches                  ──► [Finding, ...]
                          [Grant, ...]     ──► core.locks                    ──► [Finding, ...]

No finding means that nothing was found. Times are whatever the caller has, in seconds, if they are
of one clock that never goes back. What is said of an operation's fate:

    ok        it happened, once, between `invoked` and `returned`, and this was its result
    failed    it did not happen and never will
    unknown   it may have happened once, at any time after `invoked`, or may yet

    Refusal
     ├── Invalid
     │    └── RecordInvalid    a line that is no record, or a value that JSON does not have
     └── Limited
          └── HistoryFull      OPERATIONS_MAX are recorded
"""

from typing import Literal

from msgspec import Struct

from bastide.base.errors import Invalid, Limited

OPERATIONS_MAX = 100_000
"""Of one recorder."""
STEPS_MAX = 500_000
"""Of the search for one key's order, if its caller says nothing: seconds, up to half a minute."""

Outcome = Literal["ok", "failed", "unknown"]
Answer = Literal["ok", "violated", "undecided"]


class RecordInvalid(Invalid):
    pass


class HistoryFull(Limited):
    def __init__(self) -> None:
        super().__init__(f"{OPERATIONS_MAX} operations are recorded, no more", retry_after_s=0)


class Operation(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call of one client. `number` is its own in its history. `key` names the object that it is
    about, "" if there is one only. `argument` and `result` are what JSON has, with tuples for
    arrays; what they mean is told by the model that judges them. `returned` is when the client
    stopped waiting, whatever the outcome: None if it still does.
    """

    number: int
    process: str
    kind: str
    key: str = ""
    argument: object = None
    invoked: float
    returned: float | None = None
    outcome: Outcome = "unknown"
    result: object = None

    def __post_init__(self) -> None:
        if self.outcome == "ok" and self.returned is None:
            raise ValueError("what is ok has returned")
        if self.returned is not None and self.returned < self.invoked:
            raise ValueError(f"returned at {self.returned}, invoked at {self.invoked}")


class Finding(Struct, frozen=True):
    """`name` is the anomaly's in its field ("G1c", "watch gap"); `message` tells the story in a
    sentence or a few; `operations` are the numbers of those that take part, if they are any.
    """

    name: str
    message: str
    operations: tuple[int, ...] = ()


class Witness(Struct, frozen=True):
    """How far an order could be found. `placed` is the longest one, `state` what it led to, `stuck`
    are those of which one should come next and none can.
    """

    key: str
    placed: tuple[Operation, ...]
    state: str
    stuck: tuple[Operation, ...]


class Verdict(Struct, frozen=True):
    """`undecided`: more than `steps_max` were needed for a key, and no other key is violated.
    `witnesses` has one for each key that is violated or undecided.
    """

    answer: Answer
    steps: int
    witnesses: tuple[Witness, ...] = ()


# --- watches --------------------------------------------------------------------------------------


class Change(Struct, frozen=True):
    """What became of a key at a revision: a value, or None if it was deleted."""

    revision: int
    key: str
    value: str | None


class Response(Struct, frozen=True):
    """What a server sent on a watch: its revision and changes; none is a progress notification.
    `compacted` is given with the one that ends a watch whose history is gone: the first revision
    that can still be watched. A response too large is sent in fragments; all but the last are
    marked.
    """

    revision: int
    changes: tuple[Change, ...] = ()
    fragment: bool = False
    compacted: int | None = None


class Watch(Struct, frozen=True, kw_only=True):
    """One stream. `watcher` names who looks on through one stream after the other. Keys from
    `start` up to, not including, `end` are watched; an `end` of "" means the one key `start`, and
    None all that follow it. Changes from revision `since` on are asked for, `invoked` is when.
    `settled` is the revision up to which the stream should have told all when it was closed; 0 if
    it broke or was not waited for.
    """

    watcher: str
    start: str
    end: str | None = ""
    since: int
    responses: tuple[Response, ...] = ()
    settled: int = 0


# --- locks ----------------------------------------------------------------------------------------


class Grant(Struct, frozen=True, kw_only=True):
    """A lock was held. `asked`, `acquired`: when the holder asked, and learned that it has it;
    `released`: when it stopped to believe so, None if it never did. `token` is the fencing token,
    None for a bare lock. `place` is where in the queue it stood, None if that is not known; `wakes`
    how often it was woken while it waited.
    """

    lock: str
    holder: str
    asked: float
    acquired: float
    released: float | None = None
    token: int | None = None
    place: int | None = None
    wakes: int | None = None


class Access(Struct, frozen=True, kw_only=True):
    """What a fenced resource was asked for, and whether it took it; in the order in which it was
    asked.
    """

    lock: str
    holder: str
    token: int
    taken: bool
