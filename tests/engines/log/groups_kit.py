"""A group with a clock and a letter box, and consumers that behave as a client library does."""

from collections.abc import Mapping

from bastide.engines.log.core.codes import Code
from bastide.engines.log.core.groups.group import Group
from bastide.engines.log.core.groups.messages import Claim, Join, Leaving, Rules, State, Sync

SESSION_S, REBALANCE_S = 10.0, 30.0


class Room:
    """`answers` by ticket: each ticket is answered once at most, which is asserted here."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.group = Group(rules or Rules())
        self.now_s = 0.0
        self.answers = {}
        self.open = set()
        self.asked = 0

    def join(self, **asked):
        ticket = self._ticket()
        self.take(self.group.join(ticket, join(new_id=f"id-{self.asked}", **asked), self.now_s))
        return ticket

    def sync(self, claim: Claim, assignments: Mapping[str, bytes] = {}, **asked):
        ticket = self._ticket()
        asked = Sync(**fields(claim), assignments=assignments, **asked)
        self.take(self.group.sync(ticket, asked, self.now_s))
        return ticket

    def leave(self, *members: Leaving):
        left = self.group.leave(members, self.now_s)
        self.take(left.told)
        return left.codes

    def lose(self, ticket):
        self.open.discard(ticket)
        self.take(self.group.gone(ticket, self.now_s))

    def passes(self, seconds: float):
        """Time, with all that falls due meanwhile."""
        end_s = self.now_s + seconds
        while self.group.due_s <= end_s:
            self.tick_when_due()
        self.now_s = end_s

    def tick_when_due(self):
        self.now_s = max(self.now_s, self.group.due_s)
        self.take(self.group.tick(self.now_s))

    def take(self, told):
        for one in told:
            assert one.ticket in self.open, f"{one} answers what is not asked, lost or answered"
            self.open.remove(one.ticket)
            self.answers[one.ticket] = one.answer

    def _ticket(self):
        self.asked += 1
        self.open.add(self.asked)
        return self.asked

    @property
    def members(self):
        return {member.member_id: member for member in self.group.described().members}


class Consumer:
    """`take` goes on with what it was told; what it reads is `assignment`."""

    def __init__(self, room: Room, **asked) -> None:
        self.room = room
        self.asked = asked
        self.instance_id = asked.get("instance_id")
        self.member_id, self.generation = "", -1
        self.ticket = self.taken = self.joined = self.assignment = None

    @property
    def claim(self):
        return Claim(
            member_id=self.member_id, generation=self.generation, instance_id=self.instance_id
        )

    @property
    def leads(self):
        return self.joined is not None and self.joined.leader == self.member_id

    @property
    def waits(self):
        return self.ticket in self.room.open

    def join(self, **asked):
        self.ticket = self.room.join(member_id=self.member_id, **{**self.asked, **asked})
        return self.take_joined()

    def take_joined(self):
        """None: it waits."""
        answer = self.room.answers.get(self.ticket)
        if answer is None:
            return None
        self.taken = self.ticket
        self.joined = answer
        if answer.code in (Code.NONE, Code.MEMBER_ID_REQUIRED):
            self.member_id, self.generation = answer.member_id, answer.generation
        return answer.code

    def sync(self, **asked):
        """A leader gives each member its own id and the generation to read."""
        given = {one.member_id: share(one.member_id, self.generation) for one in self.joined.roster}
        self.ticket = self.room.sync(self.claim, given, **asked)
        return self.take_synced()

    def take_synced(self):
        """None: it waits."""
        answer = self.room.answers.get(self.ticket)
        if answer is None:
            return None
        self.taken = self.ticket
        if answer.code is Code.NONE:
            self.assignment = answer.assignment
        return answer.code

    def beat(self):
        return self.room.group.heartbeat(self.claim, self.room.now_s)

    def commit(self):
        return self.room.group.fence(self.claim)

    def leave(self):
        [code] = self.room.leave(Leaving(member_id=self.member_id, instance_id=self.instance_id))
        return code

    def restarted(self):
        """The same program, which has forgotten all that it was told."""
        return Consumer(self.room, **self.asked)


def share(member_id: str, generation: int) -> bytes:
    return f"{member_id} in {generation}".encode()


def fields(claim: Claim):
    return {name: getattr(claim, name) for name in claim.__struct_fields__}


def join(**asked) -> Join:
    base = {
        "member_id": "",
        "session_s": SESSION_S,
        "rebalance_s": REBALANCE_S,
        "protocol_type": "consumer",
        "protocols": [("range", b"topics")],
    }
    return Join(**{**base, **asked})


def consumers(room: Room, *names: str, **asked):
    """Members of a stable group, the first of them its leader."""
    found = [Consumer(room, client_id=name, **asked) for name in names]
    rebalance(*found)
    return found


def rebalance(*members: Consumer):
    """Both phases, of members that may be in or new."""
    for member in members:
        if member.ticket == member.taken:
            member.join()
    # The first of an empty group has a generation of its own, until it sees the others.
    while late := [member for member in members if is_late(member)]:
        late[0].join()
    for member in members:
        member.sync()
    assert [member.take_synced() for member in members] == [Code.NONE] * len(members)


def is_late(member: Consumer) -> bool:
    """Whether it must join, or join again, before phase 1 can end."""
    group = member.room.group
    if member.waits:
        return False
    return member.take_joined() is not Code.NONE or group.state is State.PREPARING
