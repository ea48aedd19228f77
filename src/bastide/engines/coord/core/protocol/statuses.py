"""How etcd tells of what went wrong: gRPC's codes, and sentences that its clients compare.

Both ways stand here side by side, so that what our door says of an error is what our client takes
for the same error.
"""

from collections.abc import Mapping
from enum import IntEnum

import msgspec

from bastide.base.errors import Denied, Invalid, Refusal, Unavailable
from bastide.engines.coord.contract import (
    AskInvalid,
    AskTooLarge,
    CoordAway,
    KeyMissing,
    LeaderMissing,
    LeaseExists,
    LeaseMissing,
    RevisionAhead,
    RevisionCompacted,
    SpaceOver,
    TooMany,
)


class Code(IntEnum):
    """Of gRPC."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Status(msgspec.Struct, frozen=True):
    """What a call ends with, unless it went well."""

    code: Code
    text: str


class CallFailed(Exception):
    """Ends a call so."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.text)
        self.status = status


def etcd(code: Code, words: str) -> Status:
    return Status(code, f"etcdserver: {words}")


_INVALID, _FAILED, _AWAY = Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION, Code.UNAVAILABLE

KEY_EMPTY = etcd(_INVALID, "key is not provided")
KEY_MISSING = etcd(_INVALID, "key not found")
VALUE_GIVEN = etcd(_INVALID, "value is provided")
LEASE_GIVEN = etcd(_INVALID, "lease is provided")
OPS_OVER = etcd(_INVALID, "too many operations in txn request")
KEY_TWICE = etcd(_INVALID, "duplicate key given in txn request")
SORT_INVALID = etcd(_INVALID, "invalid sort option")
COMPACTED = etcd(Code.OUT_OF_RANGE, "mvcc: required revision has been compacted")
AHEAD = etcd(Code.OUT_OF_RANGE, "mvcc: required revision is a future revision")
SPACE_OVER = etcd(Code.RESOURCE_EXHAUSTED, "mvcc: database space exceeded")
LEASE_MISSING = etcd(Code.NOT_FOUND, "requested lease not found")
LEASE_EXISTS = etcd(_FAILED, "lease already exists")
TTL_OVER = etcd(Code.OUT_OF_RANGE, "too large lease TTL")
MEMBER_URLS = etcd(_INVALID, "given member URLs are invalid")
MEMBER_MISSING = etcd(Code.NOT_FOUND, "member not found")
MEMBER_THERE = etcd(_FAILED, "Peer URLs already exists")
MEMBER_NO_LEARNER = etcd(_FAILED, "can only promote a learner member")
TOO_LARGE = etcd(_INVALID, "request is too large")
TOO_MANY = etcd(Code.RESOURCE_EXHAUSTED, "too many requests")
NO_LEADER = etcd(_AWAY, "no leader")
TIMED_OUT = etcd(_AWAY, "request timed out")
STOPPED = etcd(_AWAY, "server stopped")
ROOT_MISSING = etcd(_FAILED, "root user does not exist")
ROOT_ROLE_MISSING = etcd(_FAILED, "root user does not have root role")
USER_THERE = etcd(_FAILED, "user name already exists")
USER_EMPTY = etcd(_INVALID, "user name is empty")
USER_MISSING = etcd(_FAILED, "user name not found")
ROLE_THERE = etcd(_FAILED, "role name already exists")
ROLE_MISSING = etcd(_FAILED, "role name not found")
ROLE_EMPTY = etcd(_INVALID, "role name is empty")
AUTH_FAILED = etcd(_INVALID, "authentication failed, invalid user ID or password")
DENIED = etcd(Code.PERMISSION_DENIED, "permission denied")
ROLE_NOT_GRANTED = etcd(_FAILED, "role is not granted to the user")
PERMISSION_NOT_GRANTED = etcd(_FAILED, "permission is not granted to the role")
AUTH_OFF = etcd(_FAILED, "authentication is not enabled")
TOKEN_INVALID = etcd(Code.UNAUTHENTICATED, "invalid auth token")
AUTH_MANAGEMENT = etcd(_INVALID, "invalid auth management")

_STATUSES: Mapping[type[Exception], Status] = {  # the narrower one first
    AskTooLarge: TOO_LARGE,
    KeyMissing: KEY_MISSING,
    RevisionCompacted: COMPACTED,
    RevisionAhead: AHEAD,
    LeaseMissing: LEASE_MISSING,
    LeaseExists: LEASE_EXISTS,
    SpaceOver: SPACE_OVER,
    TooMany: TOO_MANY,
    LeaderMissing: NO_LEADER,
    CoordAway: TIMED_OUT,
}


def status_of(error: BaseException) -> Status:
    """How `error` is told to a stranger. A fault says nothing of its inside."""
    if isinstance(error, CallFailed):
        return error.status
    found = next((s for kind, s in _STATUSES.items() if isinstance(error, kind)), None)
    if found is not None:
        return found
    if isinstance(error, Invalid):
        return etcd(Code.INVALID_ARGUMENT, str(error))
    if isinstance(error, Denied):
        return DENIED
    if isinstance(error, Unavailable):
        return etcd(Code.UNAVAILABLE, str(error))
    if isinstance(error, Refusal):
        return etcd(Code.FAILED_PRECONDITION, str(error))
    return etcd(Code.UNKNOWN, "something is broken here")


def error_of(status: Status, *, revision: int = 0, changes: bool = False) -> Refusal:
    """What `status` of an etcd means to us. `revision`: that was asked for. `changes`: the call may
    have changed something; then an answer that never came tells nothing.
    """
    text, words = status.text, status.text.removeprefix("etcdserver: ")
    made: Refusal
    if text == COMPACTED.text:
        made = RevisionCompacted(revision, revision + 1)
    elif text == AHEAD.text:
        made = RevisionAhead(words)
    elif text == LEASE_MISSING.text:
        made = LeaseMissing(words)
    elif text == LEASE_EXISTS.text:
        made = LeaseExists(words)
    elif text == KEY_MISSING.text:
        made = KeyMissing(words)
    elif text == TOO_LARGE.text or text == OPS_OVER.text:
        made = AskTooLarge(words)
    elif text == SPACE_OVER.text:
        made = SpaceOver(words, retry_after_s=1)
    elif status.code is Code.RESOURCE_EXHAUSTED:
        made = TooMany(words, retry_after_s=1)
    else:
        made = _other_error(status, words, changes)
    return made


def _other_error(status: Status, words: str, changes: bool) -> Refusal:
    if status.text == NO_LEADER.text:
        return LeaderMissing(words)  # it is said before anything is done
    if status.text == AUTH_FAILED.text:
        return Denied(words)
    if status.code in (Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION, Code.OUT_OF_RANGE):
        return AskInvalid(words)
    if status.code in (Code.UNAUTHENTICATED, Code.PERMISSION_DENIED):
        return Denied(words)
    return CoordAway(words or status.code.name, outcome="unknown" if changes else "none")
