"""A group agrees, anew whenever its members change, on who of them reads what.

Idea: the server knows who is there; a member knows how the work is best divided. So a rebalance has
two phases, and each is a barrier at which members wait for one another:

    member a, leads          the group          member b, follows
      │── Join ────────────────>│                     │
      │                         │<───────────── Join ─│      1: who is in?
      │<─ generation 7: a, b ───│──── generation 7 ──>│      all have joined, or time is up
      │                         │                     │
      │   divides               │<─────── Sync of 7 ──│
      │── Sync of 7: a.., b.. ─>│                     │      2: who has what?
      │<─ a.. ──────────────────│────────────── b.. ─>│      the leader has said it
      │                         │                     │
      │── Heartbeat of 7 ──────>│<── Heartbeat of 7 ──│      until one comes, leaves, falls silent

The first barrier stops the old generation: whoever asks to be in the next has put down its work, or
knows what it may go on with, and whoever does not ask in time is out. Only then does anybody know
all that are to be assigned, so only then can the leader divide. The second hands out what it said.
The server never looks into metadata and assignments: how to divide is the clients' affair.

                Join                       all have joined, or time is up
    ┌───────┐ ────────> ┌────────────────────┐ ─────────> ┌─────────────────────┐
    │ Empty │           │ PreparingRebalance │            │ CompletingRebalance │
    └───────┘ <──────── └────────────────────┘ <───────── └─────────────────────┘
            nobody is left  ^            one came, left, was          │
                            │            silent or did not sync       │ the leader's Sync
                            │                                         v
                            │                                     ┌────────┐
                            └──────────────────────────────────── │ Stable │
                              one came, left, was silent          └────────┘

The generation is a fencing token: it rises whenever phase 1 ends, and `fence` lets a commit through
only if it bears the present one. So a member that slept through a rebalance moves no offset of a
partition that is somebody else's now. While phase 1 lasts the old generation may still commit: its
members are about to put down their work, and nobody has taken it up yet.

A **dynamic** member is new whenever it starts. A **static** one (KIP-345) is found by its instance
id: it may restart within its session, gets back what it had without a rebalance, and whoever still
acts under the same instance id is fenced (FENCED_INSTANCE_ID). As in Kafka, only the choice of the
protocol is looked at: metadata that changed meanwhile count in the next rebalance.

Costs: a Join is O(members * protocols), a Sync and `tick` O(members), the rest O(1), but for
`due_s` and `gone`, which look at each member. The caller waits for answers, this does not: a Join
or Sync has a ticket, and any call may tell the answers to some.

Where it differs from Kafka's own coordinator:
 - It knows lost connections. A new member whose connection is lost before it was told its id goes
   at once, for nobody can speak for it (Kafka: after 5 minutes), and none leads whose Join is lost.
 - A static member that missed phase 1 goes when its session ends, and not because it did not sync;
   nor does a LeaveGroup remove it that does not name its instance id (before version 3: none does).
 - Asked again while the first ask waits, the first is told REBALANCE_IN_PROGRESS (Kafka: nothing).
 - A member's own earlier protocols do not count when it comes with others.
 - Ids that were given and not used yet (KIP-394) count towards GROUP_MEMBERS_MAX; a member's
   metadata has a limit, METADATA_BYTES_MAX; a rebalance time-out is at least `session_s_min`.
 - The initial delay begins anew when one joins, not when it has passed.
 - A commit does not prolong the session. Members do not outlive a restart: they join anew.
"""

from collections.abc import Sequence

from bastide.engines.log.core.codes import Code
from bastide.engines.log.core.groups.member import Member
from bastide.engines.log.core.groups.messages import (
    Claim,
    Described,
    Join,
    Joined,
    Leaving,
    Left,
    RosterEntry,
    Rules,
    State,
    Sync,
    Synced,
    Ticket,
    Told,
)
from bastide.engines.log.core.groups.protocols import elect, has_common

GROUP_MEMBERS_MAX = 1_000  # with the ids that were given and not used yet
METADATA_BYTES_MAX = 1 << 18  # of one member's protocols together, their names included
NEVER_S = float("inf")


class Group:
    """Times are monotonic seconds, and never step back. When `due_s` is reached, `tick` is called.

    What a call tells is sent only when `generation` is as durable as offsets are: it is the fence,
    and must not fall back (`restored`).
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._state = State.EMPTY
        self._generation = 0
        self._protocol_type = ""
        self._protocol = ""
        self._leader = ""
        self._members: dict[str, Member] = {}
        self._instances: dict[str, Member] = {}
        self._pending_s: dict[str, float] = {}  # ids given and not used yet: when they end
        # Of PREPARING: when phase 1 ends, whoever is missing. Else: when those go that owe a Sync.
        self._phase_ends_s = NEVER_S
        # While the first of an empty group wait for more: no later than this does phase 1 end.
        self._initial_until_s: float | None = None

    @classmethod
    def restored(cls, rules: Rules, *, generation: int, protocol_type: str) -> "Group":
        """Empty, at the generation that it had before a restart."""
        group = cls(rules)
        group._generation, group._protocol_type = generation, protocol_type
        return group

    @property
    def state(self) -> State:
        return self._state

    @property
    def generation(self) -> int:
        """0: there was none yet."""
        return self._generation

    @property
    def leader(self) -> str:
        """The member that assigns; empty while there is none."""
        return self._leader

    @property
    def due_s(self) -> float:
        """When `tick` has something to do; infinite if it never will. Heartbeats only defer it."""
        sessions = (member.ends_s for member in self._members.values() if not member.waits)
        return min((self._phase_ends_s, *self._pending_s.values(), *sessions))

    def join(self, ticket: Ticket, asked: Join, now_s: float) -> Sequence[Told]:
        """Asks to be in the next generation. `ticket` is of no other Join or Sync, and not None."""
        refusal = self._refused_join(asked)
        if refusal is not Code.NONE:
            return [Told(ticket, Joined(code=refusal, member_id=asked.member_id))]
        member = self._members.get(asked.member_id)
        if member is not None:
            return self._rejoin(member, ticket, asked, now_s)
        former = self._static(asked.instance_id)
        if former is not None:
            return self._replace(former, ticket, asked, now_s)
        if asked.id_required and not asked.member_id and asked.instance_id is None:
            self._pending_s[asked.new_id] = now_s + asked.session_s
            required = Joined(code=Code.MEMBER_ID_REQUIRED, member_id=asked.new_id)
            return [Told(ticket, required)]
        return self._admit(ticket, asked, now_s)

    def sync(self, ticket: Ticket, asked: Sync, now_s: float) -> Sequence[Told]:
        """Asks what it has in this generation, and says it for all if it leads."""
        refusal = self._refused_sync(asked)
        if refusal is not Code.NONE:
            return [Told(ticket, Synced(code=refusal))]
        member = self._members[asked.member_id]
        told = [*member.tell_synced(Synced(code=Code.REBALANCE_IN_PROGRESS), now_s)]
        member.sync_ticket, member.is_synced = ticket, True
        if self._state is State.COMPLETING and member.member_id == self._leader:
            for other in self._members.values():
                other.assignment = asked.assignments.get(other.member_id, b"")
                told += other.tell_synced(self._synced(other), now_s)
            self._state = State.STABLE
        elif self._state is State.STABLE:
            told += member.tell_synced(self._synced(member), now_s)
        if all(other.is_synced for other in self._members.values()):
            self._phase_ends_s = NEVER_S
        return told

    def heartbeat(self, claim: Claim, now_s: float) -> Code:
        """Prolongs the session. REBALANCE_IN_PROGRESS says that it is to join anew, in time."""
        refusal = self._refused_claim(claim)
        if refusal is not Code.NONE:
            return refusal
        self._members[claim.member_id].renew(now_s)
        return Code.REBALANCE_IN_PROGRESS if self._state is State.PREPARING else Code.NONE

    def fence(self, claim: Claim) -> Code:
        """NONE if it may commit offsets: a member of this generation, or anybody without one while
        there are no members.
        """
        if claim.generation < 0 and not self._members:
            return Code.NONE
        refusal = self._refused_claim(claim)
        if refusal is Code.NONE and self._state is State.COMPLETING:
            # It has joined, and thereby put down what it had; what it has now nobody said yet.
            return Code.REBALANCE_IN_PROGRESS
        return refusal

    def leave(self, members: Sequence[Leaving], now_s: float) -> Left:
        codes: list[Code] = []
        told: list[Told] = []
        before = len(self._members)
        for leaving in members:
            codes.append(self._refused_leave(leaving))
            if codes[-1] is Code.NONE:
                told += self._let_go(leaving, now_s)
        told += self._settle(now_s, shrunk=len(self._members) < before)
        return Left(codes, told)

    def tick(self, now_s: float) -> Sequence[Told]:
        """Ends what is over by now: sessions, unused ids, a phase."""
        self._pending_s = {name: end for name, end in self._pending_s.items() if end > now_s}
        lost = [member for member in self._members.values() if self._is_lost(member, now_s)]
        told = [one for member in lost for one in self._dismiss(member, now_s)]
        return told + self._settle(now_s, shrunk=bool(lost))

    def gone(self, ticket: Ticket, now_s: float) -> Sequence[Told]:
        """The connection that waits for this answer is lost. The member stays, until its session
        ends, if it can come back.
        """
        for member in self._members.values():
            if member.lose(ticket, now_s):
                if member.is_known:
                    return []
                return [*self._dismiss(member, now_s), *self._settle(now_s, shrunk=True)]
        return []

    def described(self) -> Described:
        protocol = self._protocol if self._state is State.STABLE else ""
        return Described(
            state=self._state,
            generation=self._generation,
            protocol_type=self._protocol_type,
            protocol=protocol,
            members=[member.described(protocol) for member in self._members.values()],
        )

    # Who is refused.

    def _refused_join(self, asked: Join) -> Code:
        if not self._rules.session_s_min <= asked.session_s <= self._rules.session_s_max:
            return Code.INVALID_SESSION_TIMEOUT
        if _metadata_bytes(asked) > METADATA_BYTES_MAX:
            return Code.INVALID_REQUEST
        refusal = self._refused_comer(asked)
        if refusal is Code.NONE and not self._supports(asked):
            return Code.INCONSISTENT_GROUP_PROTOCOL
        return refusal

    def _refused_comer(self, asked: Join) -> Code:
        if asked.member_id in self._pending_s and asked.instance_id is None:
            return Code.NONE
        if asked.member_id:
            return self._refused_identity(asked.member_id, asked.instance_id)
        is_full = len(self._members) + len(self._pending_s) >= GROUP_MEMBERS_MAX
        if is_full and self._static(asked.instance_id) is None:
            return Code.GROUP_MAX_SIZE_REACHED
        return Code.NONE

    def _supports(self, asked: Join) -> bool:
        """Whether the group can be assigned by something if this one joins, or joins again."""
        if not asked.protocol_type or not asked.protocols:
            return False
        if self._members and asked.protocol_type != self._protocol_type:
            return False
        former = self._members.get(asked.member_id) or self._static(asked.instance_id)
        others = [member for member in self._members.values() if member is not former]
        return has_common(asked, others)

    def _refused_identity(self, member_id: str, instance_id: str | None) -> Code:
        member = self._members.get(member_id)
        if instance_id is not None:
            holder = self._static(instance_id)
            if holder is not None and holder is not member:
                return Code.FENCED_INSTANCE_ID
            member = holder
        return Code.NONE if member is not None else Code.UNKNOWN_MEMBER_ID

    def _static(self, instance_id: str | None) -> Member | None:
        return None if instance_id is None else self._instances.get(instance_id)

    def _refused_claim(self, claim: Claim) -> Code:
        refusal = self._refused_identity(claim.member_id, claim.instance_id)
        if refusal is Code.NONE and claim.generation != self._generation:
            return Code.ILLEGAL_GENERATION
        return refusal

    def _refused_sync(self, asked: Sync) -> Code:
        refusal = self._refused_claim(asked)
        if refusal is not Code.NONE:
            return refusal
        if self._state is State.PREPARING:
            return Code.REBALANCE_IN_PROGRESS
        types = (None, self._protocol_type)
        if asked.protocol_type not in types or asked.protocol not in (None, self._protocol):
            return Code.INCONSISTENT_GROUP_PROTOCOL
        return Code.NONE

    def _refused_leave(self, leaving: Leaving) -> Code:
        if leaving.instance_id is None and leaving.member_id in self._pending_s:
            return Code.NONE
        if not leaving.member_id and self._static(leaving.instance_id) is not None:
            return Code.NONE
        return self._refused_identity(leaving.member_id, leaving.instance_id)

    # Who comes.

    def _admit(self, ticket: Ticket, asked: Join, now_s: float) -> list[Told]:
        member = Member(asked.member_id or asked.new_id, asked, now_s)
        if self._pending_s.pop(asked.member_id, None) is not None:
            member.is_known = True
        self._enter(member, asked)
        return self._gather(member, ticket, now_s)

    def _rejoin(self, member: Member, ticket: Ticket, asked: Join, now_s: float) -> list[Told]:
        follows = self._state is State.STABLE and member.member_id != self._leader
        if member.matches(asked) and (follows or self._state is State.COMPLETING):
            # The answer was lost on its way, and nothing has changed. A leader that joins anew when
            # all is stable has seen a change that only it looks for, as of partitions.
            member.renew(now_s)
            return [Told(ticket, self._joined(member))]
        member.update(asked)
        return self._gather(member, ticket, now_s)

    def _replace(self, old: Member, ticket: Ticket, asked: Join, now_s: float) -> list[Told]:
        """A static member has started again. Its former self is fenced."""
        fenced = Joined(code=Code.FENCED_INSTANCE_ID, member_id=old.member_id)
        told = [*old.tell_joined(fenced, now_s)]
        told += old.tell_synced(Synced(code=Code.FENCED_INSTANCE_ID), now_s)
        member, led_by = Member(asked.new_id, asked, now_s), self._leader
        member.assignment, member.is_synced = old.assignment, old.is_synced
        self._drop(old)
        self._enter(member, asked)
        if led_by == old.member_id:
            self._leader = member.member_id
        if self._state is State.STABLE and elect(self._members.values()) == self._protocol:
            return [*told, Told(ticket, self._resumed(member, asked, led_by))]
        # In COMPLETING the leader may have been told the old id already, and would assign to it.
        return told + self._gather(member, ticket, now_s)

    def _enter(self, member: Member, asked: Join) -> None:
        if not self._members:
            self._protocol_type = asked.protocol_type
        self._members[member.member_id] = member
        if member.instance_id is not None:
            self._instances[member.instance_id] = member

    # Phase 1: who is in?

    def _gather(self, member: Member, ticket: Ticket, now_s: float) -> list[Told]:
        """It is one of those who joined, in the phase that lasts or in one that begins with it."""
        again = Joined(code=Code.REBALANCE_IN_PROGRESS, member_id=member.member_id)
        told = [*member.tell_joined(again, now_s)]
        if self._state is not State.PREPARING:
            told += self._prepare(now_s)
        member.is_joined, member.join_ticket = True, ticket
        if self._initial_until_s is not None:
            delayed_s = now_s + self._rules.initial_delay_s
            self._phase_ends_s = min(delayed_s, self._initial_until_s)
        elif self._phase_ends_s == NEVER_S:
            self._phase_ends_s = now_s + self._rebalance_s()
        return told + self._settle(now_s, shrunk=False)

    def _prepare(self, now_s: float) -> list[Told]:
        told: list[Told] = []
        for member in self._members.values():
            told += member.tell_synced(Synced(code=Code.REBALANCE_IN_PROGRESS), now_s)
            member.is_joined = False
        self._phase_ends_s = now_s + self._rebalance_s()
        self._initial_until_s = self._phase_ends_s if self._state is State.EMPTY else None
        self._state = State.PREPARING
        return told

    def _settle(self, now_s: float, *, shrunk: bool) -> list[Told]:
        """Begins phase 1 if members are lost to a generation, and ends it if it can end."""
        told: list[Told] = []
        if shrunk and self._state in (State.COMPLETING, State.STABLE):
            told = self._prepare(now_s)
        if self._state is State.PREPARING and self._is_gathered(now_s):
            told += self._complete(now_s)
        return told

    def _is_gathered(self, now_s: float) -> bool:
        if not self._members or now_s >= self._phase_ends_s:
            return True
        if self._initial_until_s is not None or self._pending_s:
            return False
        return all(member.is_joined for member in self._members.values())

    def _complete(self, now_s: float) -> list[Told]:
        told: list[Told] = []
        for member in [*self._members.values()]:
            if not member.is_joined and member.instance_id is None:
                told += self._dismiss(member, now_s)
        self._initial_until_s, self._phase_ends_s = None, NEVER_S
        if not self._members:
            self._generation += 1
            self._state, self._protocol = State.EMPTY, ""
        elif any(member.join_ticket is not None for member in self._members.values()):
            told += self._begin(now_s)
        # Else all that are left are away: the next to join finds phase 1 open.
        return told

    def _begin(self, now_s: float) -> list[Told]:
        """The next generation, of all that are members now."""
        waiting = [name for name, one in self._members.items() if one.join_ticket is not None]
        self._generation += 1
        self._state = State.COMPLETING
        self._protocol = elect(self._members.values())
        self._leader = self._leader if self._leader in waiting else waiting[0]
        self._phase_ends_s = now_s + self._rebalance_s()
        told: list[Told] = []
        for member in self._members.values():
            member.is_synced = not member.is_joined
            if member.join_ticket is not None:
                told += member.tell_joined(self._joined(member), now_s)
                member.is_known = True
        return told

    def _joined(self, member: Member) -> Joined:
        leads = member.member_id == self._leader
        return Joined(
            code=Code.NONE,
            member_id=member.member_id,
            generation=self._generation,
            protocol_type=self._protocol_type,
            protocol=self._protocol,
            leader=self._leader,
            roster=self._roster() if leads else (),
        )

    def _resumed(self, member: Member, asked: Join, led_by: str) -> Joined:
        """What a static member is told that comes back to a stable group. Had it led, it must not
        assign again: it is told so, or if it would not understand, that its former self leads.
        """
        leads = member.member_id == self._leader
        return Joined(
            code=Code.NONE,
            member_id=member.member_id,
            generation=self._generation,
            protocol_type=self._protocol_type,
            protocol=self._protocol,
            leader=self._leader if asked.skip_known else led_by,
            roster=self._roster() if leads and asked.skip_known else (),
            skip_assignment=leads and asked.skip_known,
        )

    def _roster(self) -> Sequence[RosterEntry]:
        return [member.roster_entry(self._protocol) for member in self._members.values()]

    def _rebalance_s(self) -> float:
        asked_s = (member.rebalance_s for member in self._members.values())
        return max((self._rules.session_s_min, *asked_s))

    # Phase 2: who has what?

    def _synced(self, member: Member) -> Synced:
        return Synced(
            code=Code.NONE,
            protocol_type=self._protocol_type,
            protocol=self._protocol,
            assignment=member.assignment,
        )

    # Who goes.

    def _is_lost(self, member: Member, now_s: float) -> bool:
        if not member.waits and now_s >= member.ends_s:
            return True
        owes = self._state in (State.COMPLETING, State.STABLE) and not member.is_synced
        return owes and now_s >= self._phase_ends_s

    def _let_go(self, leaving: Leaving, now_s: float) -> Sequence[Told]:
        self._pending_s.pop(leaving.member_id, None)
        member = self._static(leaving.instance_id) or self._members.get(leaving.member_id)
        if member is None or member.instance_id != leaving.instance_id:
            return ()
        return self._dismiss(member, now_s)

    def _dismiss(self, member: Member, now_s: float) -> Sequence[Told]:
        refused = Joined(code=Code.UNKNOWN_MEMBER_ID, member_id=member.member_id)
        unknown = Synced(code=Code.UNKNOWN_MEMBER_ID)
        self._drop(member)
        return [*member.tell_joined(refused, now_s), *member.tell_synced(unknown, now_s)]

    def _drop(self, member: Member) -> None:
        del self._members[member.member_id]
        if member.instance_id is not None:
            del self._instances[member.instance_id]
        if member.member_id == self._leader:
            self._leader = ""


def _metadata_bytes(asked: Join) -> int:
    return sum(len(name.encode()) + len(metadata) for name, metadata in asked.protocols)
