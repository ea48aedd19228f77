"""One member as its coordinator knows it: what it asked for, and what it waits for."""

from collections.abc import Sequence

from bastide.engines.log.core.groups.messages import (
    DescribedMember,
    Join,
    Joined,
    RosterEntry,
    Synced,
    Ticket,
    Told,
)


class Member:
    """Invariants: it waits for one answer of each kind at most, and for a Joined only if it has
    joined. While it waits its session does not end; it begins anew with the answer.

    `is_known`: somebody can speak for it, for its id was told or is found by its instance id.
    `is_joined`: it has asked to be in the next generation. `is_synced`: no Sync is awaited of it.
    """

    __slots__ = (
        *("assignment", "client_id", "ends_s", "host", "instance_id", "is_joined", "is_known"),
        *("is_synced", "join_ticket", "member_id", "protocols", "rebalance_s", "session_s"),
        "sync_ticket",
    )

    def __init__(self, member_id: str, asked: Join, now_s: float) -> None:
        assert member_id
        self.member_id = member_id
        self.instance_id = asked.instance_id
        self.assignment = b""
        self.is_known = asked.instance_id is not None
        self.is_joined = self.is_synced = False
        self.join_ticket: Ticket = None
        self.sync_ticket: Ticket = None
        self.update(asked)
        self.renew(now_s)

    @property
    def waits(self) -> bool:
        return self.join_ticket is not None or self.sync_ticket is not None

    def update(self, asked: Join) -> None:
        self.client_id, self.host = asked.client_id, asked.host
        self.session_s, self.rebalance_s = asked.session_s, asked.rebalance_s
        self.protocols = dict(asked.protocols)

    def matches(self, asked: Join) -> bool:
        """Whether what it can be assigned by, and would tell the leader, is as before."""
        return list(self.protocols.items()) == list(dict(asked.protocols).items())

    def renew(self, now_s: float) -> None:
        self.ends_s = now_s + self.session_s

    def roster_entry(self, protocol: str) -> RosterEntry:
        metadata = self.protocols[protocol]
        return RosterEntry(
            member_id=self.member_id, instance_id=self.instance_id, metadata=metadata
        )

    def described(self, protocol: str) -> DescribedMember:
        """With an empty name: without what is of a protocol."""
        return DescribedMember(
            member_id=self.member_id,
            instance_id=self.instance_id,
            client_id=self.client_id,
            host=self.host,
            metadata=self.protocols[protocol] if protocol else b"",
            assignment=self.assignment if protocol else b"",
        )

    def tell_joined(self, answer: Joined, now_s: float) -> Sequence[Told]:
        """Nothing, if it does not wait for it."""
        if self.join_ticket is None:
            return ()
        ticket, self.join_ticket = self.join_ticket, None
        self.renew(now_s)
        return (Told(ticket, answer),)

    def tell_synced(self, answer: Synced, now_s: float) -> Sequence[Told]:
        """Nothing, if it does not wait for it."""
        if self.sync_ticket is None:
            return ()
        ticket, self.sync_ticket = self.sync_ticket, None
        self.renew(now_s)
        return (Told(ticket, answer),)

    def lose(self, ticket: Ticket, now_s: float) -> bool:
        """Whether it waited with this ticket. It does so no more."""
        assert ticket is not None
        if ticket == self.join_ticket:
            self.join_ticket = None
        elif ticket == self.sync_ticket:
            self.sync_ticket = None
        else:
            return False
        self.renew(now_s)
        return True
