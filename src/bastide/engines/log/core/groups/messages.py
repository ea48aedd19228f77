"""What a group's coordinator is asked, and what it tells."""

from collections.abc import Hashable, Mapping, Sequence
from enum import StrEnum

import msgspec

from bastide.engines.log.core.codes import Code

Ticket = Hashable  # names one Join or Sync that is to be answered; None is none


class State(StrEnum):
    """As ListGroups shows them. No `Group` is DEAD: it is what one shows that is not there."""

    EMPTY = "Empty"
    PREPARING = "PreparingRebalance"
    COMPLETING = "CompletingRebalance"
    STABLE = "Stable"
    DEAD = "Dead"


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """`initial_delay_s`: how long the first to join an empty group waits for others; it begins anew
    with each that comes. `session_s_min` is above 0, and the least rebalance time-out too.
    """

    session_s_min: float = 1.0
    session_s_max: float = 1800.0
    initial_delay_s: float = 0.0


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Who says that it is a member, and of which generation (-1: of none)."""

    member_id: str
    generation: int
    instance_id: str | None = None


class Join(msgspec.Struct, frozen=True, kw_only=True):
    """`member_id` is empty, or the id that it was given; `new_id` is the one it is given if it is
    empty, and no other member has ever had it. `instance_id` makes a member static (KIP-345).

    `protocols`: the names of what it can be assigned by, the best first, each with metadata that
    only the leader reads. `id_required`: it is told its id before it may enter (KIP-394; from
    version 4 of JoinGroup). `skip_known`: it knows that a leader may be told to assign nothing
    (KIP-814; from version 9).
    """

    member_id: str
    new_id: str
    session_s: float
    rebalance_s: float
    protocol_type: str
    protocols: Sequence[tuple[str, bytes]]
    instance_id: str | None = None
    client_id: str = ""
    host: str = ""
    id_required: bool = False
    skip_known: bool = False


class Sync(Claim, frozen=True, kw_only=True):
    """`assignments` by member id: empty, but for the leader's. Type and name of the protocol are
    checked if they are there (KIP-559; from version 5 of SyncGroup).
    """

    assignments: Mapping[str, bytes] = {}
    protocol_type: str | None = None
    protocol: str | None = None


class Leaving(msgspec.Struct, frozen=True, kw_only=True):
    """One of those that a LeaveGroup names: by either id, or by both."""

    member_id: str = ""
    instance_id: str | None = None


class RosterEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What the leader is told of a member: `metadata` is that of the protocol chosen."""

    member_id: str
    instance_id: str | None
    metadata: bytes


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """`roster` has all members, for the leader; for others it is empty. With `skip_assignment` the
    leader has nothing to assign: its Sync is answered with what it had.
    """

    code: Code
    member_id: str
    generation: int = -1
    protocol_type: str | None = None
    protocol: str | None = None
    leader: str = ""
    roster: Sequence[RosterEntry] = ()
    skip_assignment: bool = False


class Synced(msgspec.Struct, frozen=True, kw_only=True):
    code: Code
    protocol_type: str | None = None
    protocol: str | None = None
    assignment: bytes = b""


class Told(msgspec.Struct, frozen=True):
    """The answer to what was asked with this ticket, which is used up by it."""

    ticket: Ticket
    answer: Joined | Synced


class Left(msgspec.Struct, frozen=True):
    """`codes`: one for each that was to leave, in order."""

    codes: Sequence[Code]
    told: Sequence[Told]


class DescribedMember(msgspec.Struct, frozen=True, kw_only=True):
    member_id: str
    instance_id: str | None
    client_id: str
    host: str
    metadata: bytes
    assignment: bytes


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """As DescribeGroups shows it: the protocol, metadata and assignments only while it is stable,
    for else they are of no generation. Members are in the order in which they came.
    """

    state: State
    generation: int
    protocol_type: str
    protocol: str
    members: Sequence[DescribedMember]


DEAD = Described(state=State.DEAD, generation=-1, protocol_type="", protocol="", members=())
