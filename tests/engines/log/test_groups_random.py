"""Whatever a group's members do, and however their time and connections are lost."""

from collections import defaultdict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bastide.engines.log.core.codes import Code
from bastide.engines.log.core.groups.messages import Claim, Joined, Leaving, Rules, State, Synced
from tests.engines.log.groups_kit import Consumer, Room

SESSION_S = 3.0
REBALANCES_S = (2.0, 5.0, 9.0)
KINDS = (
    {"id_required": True},
    {"id_required": True},
    {},
    {"instance_id": "one"},
    {"instance_id": "two", "skip_known": True},
)
CAREFUL = ({"id_required": True}, {})
METADATA = (b"", b"other")
CLAIMS_MAX = 12  # of those that were good once: the newest are tried

one = st.integers(0, len(KINDS) - 1)
some = st.lists(one, min_size=1, unique=True)


def asked(kind):
    return {"session_s": SESSION_S, "rebalance_s": REBALANCES_S[0], **kind}


class Careful(Consumer):
    """Does at once what a client library does: joins, syncs, beats, joins anew when it is told."""

    def act(self):
        if self.waits:
            return
        answer = self.room.answers.get(self.ticket)
        if isinstance(answer, Synced):
            self.after(self.take_synced())
        elif answer is not None and self.take_joined() is Code.NONE:
            self.sync()
        else:
            self.join()

    def after(self, synced):
        if synced is Code.NONE:
            synced = self.beat()
        if synced is not Code.NONE:
            self.join()


class Groups(RuleBasedStateMachine):
    """Careful members among others, who do anything at any time."""

    @initialize(delay_s=st.sampled_from((0.0, 2.0)), careful=st.integers(0, 2))
    def begin(self, delay_s, careful):
        self.room = Room(Rules(initial_delay_s=delay_s))
        self.careful = [Careful(self.room, **asked(kind)) for kind in CAREFUL[:careful]]
        self.others = [Consumer(self.room, **asked(kind)) for kind in KINDS]
        self.asked_s = {}
        self.claims = []
        self.led = defaultdict(set)
        self.given = {}
        self.seen = set()
        self.generation = 0

    # What others do.

    @rule(who=some, leads=st.booleans(), times=st.integers(1, 2))
    def go_on(self, who, leads, times):
        """What they should do next. But who leads may let the others wait, and who waits may ask
        again.
        """
        for number in who:
            other = self.others[number]
            answer = self.room.answers.get(other.ticket)
            if isinstance(answer, Synced):
                other.take_synced()
            elif answer is not None and other.take_joined() is Code.NONE:
                for _ in range(times if leads or not other.leads else 0):
                    other.sync()
            elif not other.waits:
                if answer is not None and answer.code is not Code.MEMBER_ID_REQUIRED:
                    self.others[number] = other.restarted()
                self.others[number].join()

    @rule(who=one, rebalance_s=st.sampled_from(REBALANCES_S), metadata=st.sampled_from(METADATA))
    def join(self, who, rebalance_s, metadata):
        protocols = [("range", metadata), ("round", b"")]
        self.others[who].join(rebalance_s=rebalance_s, protocols=protocols)

    @rule(who=one, joins=st.booleans())
    def restart(self, who, joins):
        self.others[who] = self.others[who].restarted()
        if joins:
            self.others[who].join()

    @rule(who=one)
    def sync(self, who):
        """At any time."""
        if self.others[who].joined is not None:
            self.others[who].sync()

    @rule(who=some)
    def beat(self, who):
        for number in who:
            self.others[number].beat()

    @rule(who=one, names=st.sampled_from(("both", "member", "instance")))
    def leave(self, who, names):
        other = self.others[who]
        member_id = "" if names == "instance" else other.member_id
        instance_id = None if names == "member" else other.instance_id
        self.room.leave(Leaving(member_id=member_id, instance_id=instance_id))

    @rule(who=one)
    def lose(self, who):
        if self.others[who].waits:
            self.room.lose(self.others[who].ticket)

    @rule()
    def lose_the_careful(self):
        for member in self.careful:
            if member.waits:
                self.room.lose(member.ticket)

    @rule(seconds=st.sampled_from((0.0, 0.5, 1.0, 4.0, 10.0)))
    def time_passes(self, seconds):
        """With all that falls due, and the careful among it."""
        end_s = self.room.now_s + seconds
        while self.room.now_s < end_s:
            self.room.passes(min(SESSION_S / 6, end_s - self.room.now_s))
            self.watch()
            self.act()

    @rule()
    def act(self):
        for member in self.careful:
            member.act()
        self.watch()

    # What always holds.

    @invariant()
    def watch(self):
        self.watch_answers()
        self.watch_waiting()
        self.watch_leader()
        self.watch_fence()
        self.watch_careful()
        self.watch_assignments()
        assert self.room.group.generation >= self.generation, "a generation went back"
        self.generation = self.room.group.generation

    def watch_answers(self):
        for ticket, answer in self.room.answers.items():
            if ticket in self.seen:
                continue
            self.seen.add(ticket)
            if isinstance(answer, Joined) and answer.code is Code.NONE:
                self.claims.append(Claim(member_id=answer.member_id, generation=answer.generation))
                if answer.leader == answer.member_id and not answer.skip_assignment:
                    self.led[answer.generation].add(answer.member_id)

    def watch_waiting(self):
        """Nobody waits for longer than the largest rebalance time-out."""
        for ticket in self.room.open:
            since_s = self.asked_s.setdefault(ticket, self.room.now_s)
            assert self.room.now_s - since_s <= max(REBALANCES_S)

    def watch_leader(self):
        group = self.room.group
        assert not group.leader or group.leader in self.room.members
        if group.state in (State.STABLE, State.COMPLETING):
            assert group.leader
        for generation, leaders in self.led.items():
            assert len(leaders) == 1, f"{leaders} all assign in {generation}"

    def watch_fence(self):
        """Of all who were members once, only those of one generation may commit: this one."""
        passing = {
            claim.generation
            for claim in self.claims[-CLAIMS_MAX:]
            if self.room.group.fence(claim) is Code.NONE
        }
        assert passing <= {self.room.group.generation}

    def watch_careful(self):
        """Who beats and joins anew when it is told is never removed."""
        for member in self.careful:
            answer = self.room.answers.get(member.ticket)
            assert answer is None or answer.code is not Code.UNKNOWN_MEMBER_ID
            if member.generation > 0:
                assert member.member_id in self.room.members

    def watch_assignments(self):
        """A member has what the leader of this generation gave it, or nothing."""
        shown = self.room.group.described()
        if shown.state is not State.STABLE:
            assert all(member.assignment == b"" for member in shown.members)
            return
        now = {one.instance_id or one.member_id: one.assignment for one in shown.members}
        assert self.given.setdefault(shown.generation, now) == now
        for assignment in now.values():
            assert assignment.endswith(f" in {shown.generation}".encode()) or not assignment
        for one in shown.members:
            if one.instance_id is None:
                assert one.assignment == f"{one.member_id} in {shown.generation}".encode()

    def teardown(self):
        """If nobody does anything any more, all are answered and the group ends."""
        if not hasattr(self, "room"):
            return
        for _ in range(100):
            if self.room.group.due_s == float("inf"):
                break
            self.room.tick_when_due()
            self.watch_waiting()
        assert self.room.open == set()
        assert self.room.group.state is State.EMPTY


TestGroups = Groups.TestCase
TestGroups.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
