"""All that there is during a simulation: nodes, a network, time, and chance from one seed."""

from collections import Counter
from collections.abc import Callable
from zlib import crc32

from bastide.base.rt.clock import Clock
from bastide.base.rt.runtime import Chance
from bastide.parts.sim.contract import TURNS_MAX
from bastide.parts.sim.disk.disk import SimDisk
from bastide.parts.sim.draws import Draws
from bastide.parts.sim.hosted import HostedLoop
from bastide.parts.sim.net import Net
from bastide.parts.sim.node import Node
from bastide.parts.sim.points import Points

Tell = Callable[[float, str, str], None]  # when (s), on which node, what


class World:
    """Handed to a simulation. `outside` is the node that its own code runs on: nothing happens to
    it, and its clock is the true one.
    """

    def __init__(
        self, draws: Draws, *, tell: Tell | None = None, turns_max: int = TURNS_MAX
    ) -> None:
        self.draws = draws
        self.reached: Counter[str] = Counter()  # fault points
        self.struck: Counter[str] = Counter()  # kinds of faults
        self._chance = Chance(draws.noise("chance").getrandbits(62))
        self.loop = HostedLoop(
            order=draws.noise("order").random,
            executor=draws.noise("executor").random,
            turns_max=turns_max,
        )
        self.net = self.loop.net = Net(self.loop, draws)
        self.nodes: dict[str, Node] = {}
        self._tell = tell
        if tell is not None:
            self.loop.trace = self._traced
            draws.tell = lambda name, what: self._traced(f"[{name}]", what)
        self.outside = self._made("outside")
        self.outside.open_outside(self.loop.outside)

    @property
    def now_s(self) -> float:
        """Since the world began."""
        return self.loop.now_ns * 1e-9

    def clock(self) -> Clock:
        """Of the process that is running."""
        return self.loop.process.clock

    def node(self, name: str) -> Node:
        """The machine of that name; a new one, with nothing on it, the first time."""
        if name not in self.nodes:
            self.nodes[name] = self._made(name)
        return self.nodes[name]

    def note(self, text: str) -> None:
        """A line of the trace, and part of what two runs must agree in."""
        self.loop.mix(crc32(text.encode()))
        if self.loop.trace is not None:
            self.loop.trace(self.loop.process.name, text)

    def strike(self, kind: str) -> None:
        """Count a fault, and note it."""
        self.struck[kind] += 1
        self.note(f"fault: {kind}")

    def heal(self) -> None:
        """Links are mended, the paused go on, the dead are started, disks and clocks run well."""
        self.net.heal()
        for node in self.nodes.values():
            node.heal()

    def fail(self, error: BaseException) -> None:
        """End the simulation: something is not as it must be."""
        self.loop.fail(error)

    def _made(self, name: str) -> Node:
        chance = Chance(self._chance.random.getrandbits(62))
        disk = SimDisk(self.draws.noise(f"disk {name}"))
        return Node(name, self.loop, disk=disk, chance=chance, points=Points(self.reached))

    def _traced(self, name: str, what: str) -> None:
        assert self._tell is not None
        self._tell(self.now_s, name, what)

    def close(self) -> None:
        """Nothing runs any more. Who lives is killed, what waits is closed, and all is let go."""
        for node in (*self.nodes.values(), self.outside):
            node.kill()
        self.loop.close_tasks()
        for node in (*self.nodes.values(), self.outside):
            node.forget()
        self.net.forget()
        self.loop.set_exception_handler(lambda *_: None)
        self.loop.close()
