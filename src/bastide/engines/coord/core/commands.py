"""The entries that all nodes agree on: what may change the store, and nothing else.

    | version | a Command in MessagePack, told apart by its tag |

A node that finds an entry of a version or kind that it does not know stops: skipping it would leave
it with another store than the others, for ever, and without a sign. So a change of what a command
holds or does is a new version, and nodes write it once all of them can read it.

Answers are values too (`Outcome`), refusals among them: they are the same on all nodes, and can be
kept to be given again to who asks twice.
"""

import msgspec

from bastide.base.errors import Refusal
from bastide.engines.coord.contract import (
    AskInvalid,
    AskTooLarge,
    Delete,
    Deleted,
    KeyMissing,
    LeaseExists,
    LeaseMissing,
    Put,
    PutDone,
    RevisionAhead,
    RevisionCompacted,
    SpaceOver,
    TooMany,
    Txn,
    TxnDone,
)

VERSION = 1
RETRY_AFTER_S = 1.0


class EntryUnknown(Exception):
    """An entry that this program can't read: it must not go on."""


# --- what is asked --------------------------------------------------------------------------------


class Compact(msgspec.Struct, frozen=True, tag="compact"):
    revision: int


class Grant(msgspec.Struct, frozen=True, tag="grant"):
    """`id` was chosen by who proposes: a machine has no chance. It is not 0."""

    id: int
    ttl_s: int


class Revoke(msgspec.Struct, frozen=True, tag="revoke"):
    id: int


class SetSpace(msgspec.Struct, frozen=True, tag="space"):
    """From here on the store is full at this many bytes. An entry, since nodes whose settings
    differ would refuse different puts.
    """

    bytes_max: int


class Raise(msgspec.Struct, frozen=True, tag="raise"):
    """An alarm of `member`."""

    member: int
    kind: str


class Disarm(msgspec.Struct, frozen=True, tag="disarm"):
    member: int
    kind: str


class Identify(msgspec.Struct, frozen=True, tag="identify"):
    """The store's own number, chosen by who first leads. A store that has one keeps it."""

    cluster: int


class Announce(msgspec.Struct, frozen=True, tag="announce"):
    """Where a member can be reached. What is empty stays as it is."""

    member: int
    name: str = ""
    peer_address: str = ""
    client_address: str = ""


class Forget(msgspec.Struct, frozen=True, tag="forget"):
    """A member was removed."""

    member: int


Command = (
    Put
    | Delete
    | Txn
    | Compact
    | Grant
    | Revoke
    | SetSpace
    | Raise
    | Disarm
    | Identify
    | Announce
    | Forget
)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Command)
_VERSION_BYTE = bytes((VERSION,))


def encode(command: Command) -> bytes:
    return _VERSION_BYTE + _encoder.encode(command)


def decode(entry: bytes) -> Command:
    """
    Raises:
        EntryUnknown
    """
    if entry[:1] != _VERSION_BYTE:
        told = entry[0] if entry else "none"
        raise EntryUnknown(f"an entry of version {told}; this program reads {VERSION}")
    try:
        command: Command = _decoder.decode(memoryview(entry)[1:])
    except msgspec.MsgspecError as error:
        raise EntryUnknown(f"an entry that is no command: {error}") from error
    return command


# --- what comes of it -----------------------------------------------------------------------------


class Done(msgspec.Struct, frozen=True, tag="done"):
    """Of every command but put, delete and txn. `revision`: of the store afterwards."""

    revision: int


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Nothing was changed, but that the alarm for space may ring now. See `refusal`."""

    error: str
    told: str
    revision: int = 0
    oldest: int = 0


Outcome = PutDone | Deleted | TxnDone | Done | Refused

_outcomes = msgspec.msgpack.Decoder(Outcome)
_PLAIN: tuple[type[Refusal], ...] = (
    AskInvalid,
    KeyMissing,
    AskTooLarge,
    LeaseMissing,
    LeaseExists,
    RevisionAhead,
)
_BY_NAME = {error.__name__: error for error in _PLAIN}
_LIMITED = {error.__name__: error for error in (SpaceOver, TooMany)}


def encode_outcome(outcome: Outcome) -> bytes:
    return _encoder.encode(outcome)


def decode_outcome(kept: bytes) -> Outcome:
    outcome: Outcome = _outcomes.decode(kept)
    return outcome


def refused(error: Refusal) -> Refused:
    if isinstance(error, RevisionCompacted):
        return Refused(type(error).__name__, str(error), error.revision, error.oldest)
    return Refused(type(error).__name__, str(error))


def refusal(outcome: Refused) -> Refusal:
    """To be raised: the contract's error again."""
    if outcome.error == RevisionCompacted.__name__:
        return RevisionCompacted(outcome.revision, outcome.oldest)
    if limited := _LIMITED.get(outcome.error):
        return limited(outcome.told, retry_after_s=RETRY_AFTER_S)
    return _BY_NAME[outcome.error](outcome.told)
