"""What the rules, the network, clients and operators see of a node."""

from collections.abc import Callable, Sequence
from typing import Protocol

from bastide.parts.raft.contract import AnyMessage, Change, NodeId
from bastide.parts.raft.core.raft import Raft
from bastide.parts.raft.sim.disk import SimDisk
from bastide.parts.raft.sim.machine import Command, Machine

Answer = Callable[[bool, object], None]
"""Whether it happened, and its result."""


class Node(Protocol):
    """`life` counts its processes, `term` is what it wrote last, `led_term` what it led last in
    this life, `claimed` up to where it called entries committed, `rate` its clock's. When it heard
    a term's leader, was asked for a vote and heard each other node is in the world's time.
    """

    node: NodeId
    life: int
    term: int
    led_term: int
    claimed: int
    rate: float
    is_up: bool
    is_paused: bool
    disk: SimDisk
    machine: Machine
    core: Raft
    heard_s: dict[int, float]
    asked_s: dict[NodeId, float]
    heard_from: dict[NodeId, float]

    @property
    def is_leader(self) -> bool: ...

    def start(self) -> None: ...

    def crash(self, why: str) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def act(self, life: int, do: Callable[..., None], args: tuple[object, ...]) -> None: ...

    def receive(self, message: AnyMessage) -> None: ...

    def propose(self, commands: Sequence[Command], answers: Sequence[Answer]) -> None: ...

    def read(self, key: int, by_lease: bool, answer: Answer) -> None: ...

    def operate(self, what: Change | NodeId) -> None: ...
