"""The replicated state machine: a few registers, and a digest of all that was ever applied.

The digest makes two machines comparable at a glance: equal digests at one index mean that the same
entries were applied up to there, in the same order, also by way of a snapshot.
"""

from zlib import crc32

import msgspec

from bastide.parts.raft.contract import Entry, Members

ABSENT = 0


class Mixed(Exception):
    pass


class Command(msgspec.Struct, frozen=True, array_like=True):
    """Puts `value` at `key`; if `expected` is not None, only where that stands now."""

    key: int
    value: int
    expected: int | None = None
    padding: str = ""


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """`author` and `author_again` are the node's that wrote it, so that a snapshot which was put
    together from the chunks of two nodes can be told.
    """

    author: str
    index: int
    term: int
    digest: str  # of a fixed length, so that a snapshot's size tells nothing of its content
    values: dict[int, int]
    author_again: str


class Machine:
    def __init__(self, index: int, term: int) -> None:
        self.index = index
        self.term = term  # of the entry at `index`
        self.digest = 0
        self.values: dict[int, int] = {}

    def apply(self, entry: Entry) -> bool:
        """Whether it had its effect; False of a compare-and-set that found another value."""
        self.index, self.term = entry.index, entry.term
        self.digest = digest_behind(self.digest, entry)
        if entry.kind != "payload":
            return True
        command = _COMMANDS.decode(entry.payload)
        found = self.values.get(command.key, ABSENT)
        if command.expected is not None and command.expected != found:
            return False
        self.values[command.key] = command.value
        return True

    def encoded(self, author: int) -> bytes:
        """Of a size that does not depend on the author."""
        name = f"{author:03d}"
        kept = Kept(name, self.index, self.term, f"{self.digest:08x}", self.values, name)
        return _ENCODER.encode(kept)


def decoded(snapshot: bytes) -> Machine:
    kept = _SNAPSHOTS.decode(snapshot)
    if kept.author != kept.author_again:
        raise Mixed(f"one part of the snapshot is n{kept.author}'s, one n{kept.author_again}'s")
    machine = Machine(kept.index, kept.term)
    machine.digest = int(kept.digest, 16)
    machine.values = kept.values
    return machine


def digest_behind(digest: int, entry: Entry) -> int:
    return crc32(entry.payload, (digest * 31 + entry.term * 1009 + entry.index) & 0xFFFF_FFFF)


def members_of(entry: Entry) -> Members:
    """Of an entry of kind `change`, as the contract has it: Members in front."""
    return _CHANGES.decode(entry.payload)[0]


def encode_command(command: Command) -> bytes:
    return _ENCODER.encode(command)


_ENCODER = msgspec.msgpack.Encoder()
_COMMANDS = msgspec.msgpack.Decoder(Command)
_SNAPSHOTS = msgspec.msgpack.Decoder(Kept)
_CHANGES = msgspec.msgpack.Decoder(tuple[Members, bytes])
