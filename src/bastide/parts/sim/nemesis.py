"""What goes wrong, and when: drawn from a tape, so that a run can be had with fewer faults.

Each seed has another mixture (a *swarm*): of the kinds of faults about half, of the weather odd
values. All at once in every run would hide what only some of them bring about, since the others
get in the way.
"""

import asyncio
import errno
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from bastide.parts.sim.disk.disk import Faults, Operation
from bastide.parts.sim.draws import Tape
from bastide.parts.sim.node import Node
from bastide.parts.sim.world import World

REST_S = 3.0  # at most, between two faults
LASTS_S = 8.0  # a fault, at most
JUMP_S = 600.0

Cure = Callable[[], None]


class Nemesis:
    """Torments `nodes`. `kinds` narrows what may be drawn: see KINDS."""

    def __init__(
        self, world: World, nodes: Sequence[Node], *, kinds: Sequence[str] | None = None
    ) -> None:
        self.world = world
        self.nodes = nodes
        self.tape = world.draws.tape("nemesis")
        swarm = world.draws.tape("swarm")
        allowed = KINDS if kinds is None else kinds
        self.kinds = [kind for kind in allowed if swarm.chance(kind, 0.5)]
        set_weather(world, swarm)
        self._cures: list[asyncio.TimerHandle] = []

    async def torment(self, for_s: float) -> None:
        """Faults for that long, each for a while, some at once; in the end all is healed."""
        loop, tape = self.world.loop, self.tape
        ends_s = self.world.now_s + for_s
        while self.kinds and self.world.now_s < ends_s and tape.more("fault", 4 * for_s):
            await asyncio.sleep(tape.real("rest", 0.0, REST_S))
            cure = self._strike(tape.pick("kind", self.kinds))
            self._cures.append(loop.call_later(tape.real("lasts", 0.0, LASTS_S), cure))
        await asyncio.sleep(max(0.0, ends_s - self.world.now_s))
        self.heal()

    def heal(self) -> None:
        for cure in self._cures:
            cure.cancel()
        self._cures.clear()
        self.world.heal()

    def node(self) -> Node:
        return self.tape.pick("node", self.nodes)

    def two(self) -> tuple[Node, Node]:
        """Different, if there are two."""
        number = self.tape.integer("one", 0, len(self.nodes) - 1)
        step = self.tape.integer("other", 1, max(1, len(self.nodes) - 1))
        return self.nodes[number], self.nodes[(number + step) % len(self.nodes)]

    def _strike(self, kind: str) -> Cure:
        self.world.strike(kind)
        return KINDS[kind](self)


def set_weather(world: World, swarm: Tape) -> None:
    """Odd links for this seed. Simplest is what they are like by default."""
    weather = world.net.weather
    weather.latency_s = swarm.pick("latency", (0.001, 0.0001, 0.005, 0.02))
    weather.loss = swarm.pick("loss", (0.0, 0.0, 0.001, 0.02))
    weather.duplicates = swarm.pick("duplicates", (0.0, 0.01))
    weather.disorder = swarm.pick("disorder", (0.0, 0.05))
    weather.splits = swarm.pick("splits", (0.0, 0.0, 0.3))
    weather.window_bytes = swarm.pick("window", (65_536, 65_536, 4_096))
    weather.gives_up_s = swarm.pick("gives up", (30.0, 5.0, 900.0))


def _kill(nemesis: Nemesis) -> Cure:
    node = nemesis.node()
    node.kill()
    return node.restart


def _crash(nemesis: Nemesis) -> Cure:
    node = nemesis.node()
    node.crash()
    return node.restart


def _crash_midway(nemesis: Nemesis) -> Cure:
    node = nemesis.node()
    turns = nemesis.tape.integer("turns", 0, 500)
    if node.alive:
        node.crash_after(turns)
    return node.restart


def _crash_all(nemesis: Nemesis) -> Cure:
    for node in nemesis.nodes:
        node.crash()
    return partial(_restart_all, nemesis.nodes)


def _restart_all(nodes: Sequence[Node]) -> None:
    for node in nodes:
        node.restart()


def _pause(nemesis: Nemesis) -> Cure:
    node = nemesis.node()
    node.pause()
    return node.resume


def _isolate(nemesis: Nemesis) -> Cure:
    net = nemesis.world.net
    return partial(net.mend, net.isolate(nemesis.node().name))


def _split(nemesis: Nemesis) -> Cure:
    names = [node.name for node in nemesis.nodes]
    one = [name for name in names if nemesis.tape.chance("side", 0.5)]
    net = nemesis.world.net
    return partial(net.mend, net.part(one, [name for name in names if name not in one]))


def _bridge(nemesis: Nemesis) -> Cure:
    """Two halves, and one in between that sees both."""
    names = [node.name for node in nemesis.nodes]
    middle = nemesis.tape.integer("bridge", 0, len(names) - 1)
    rest = names[:middle] + names[middle + 1 :]
    net = nemesis.world.net
    return partial(net.mend, net.part(rest[: len(rest) // 2], rest[len(rest) // 2 :]))


def _cut_pair(nemesis: Nemesis) -> Cure:
    one, other = nemesis.two()
    net = nemesis.world.net
    return partial(net.mend, net.part([one.name], [other.name]))


def _one_way(nemesis: Nemesis) -> Cure:
    """It hears all, or is heard by all, and not the other way."""
    name = nemesis.node().name
    others = [other for other in nemesis.world.net.hosts if other != name]
    net = nemesis.world.net
    is_deaf = nemesis.tape.chance("deaf", 0.5)
    return partial(net.mend, net.cut(others, [name]) if is_deaf else net.cut([name], others))


def _reset(nemesis: Nemesis) -> Cure:
    one, other = nemesis.two()
    nemesis.world.net.reset(one.name, other.name)
    return _nothing


def _slow_link(nemesis: Nemesis) -> Cure:
    one, other = nemesis.two()
    link = nemesis.world.net.link(one.name, other.name)
    link.slower = nemesis.tape.real("slower", 10.0, 1_000.0)
    return partial(setattr, link, "slower", 1.0)


def _lossy_link(nemesis: Nemesis) -> Cure:
    one, other = nemesis.two()
    link = nemesis.world.net.link(one.name, other.name)
    link.more_loss = nemesis.tape.real("loss", 0.05, 0.5)
    return partial(setattr, link, "more_loss", 0.0)


def _jump(nemesis: Nemesis) -> Cure:
    by_s = nemesis.tape.real("by", 0.0, JUMP_S)
    ahead = not nemesis.tape.chance("back", 0.5)
    nemesis.node().clock.jump(by_s if ahead else -by_s)
    return _nothing


def _drift(nemesis: Nemesis) -> Cure:
    node = nemesis.node()
    node.drift(nemesis.tape.pick("rate", (1.01, 0.99, 1.1, 0.9, 2.0, 0.5)))
    return partial(node.drift, 1.0)


def _slow_disk(nemesis: Nemesis) -> Cure:
    node = nemesis.node()
    most_s = nemesis.tape.real("sync", 0.01, 2.0)
    node.disk.faults.sync_s = (0.0, most_s)
    return lambda: setattr(node.disk.faults, "sync_s", (0.0, 0.0))


def _full_disk(nemesis: Nemesis) -> Cure:
    node = nemesis.node()
    node.disk.room_bytes = nemesis.tape.integer("room", 0, 4_096)
    return lambda: setattr(node.disk, "room_bytes", None)


def _failed_sync(nemesis: Nemesis) -> Cure:
    faults = nemesis.node().disk.faults
    _set_risk(faults, "sync", nemesis.tape.real("risk", 0.01, 1.0))
    return partial(_set_risk, faults, "sync", 0.0)


def _failed_write(nemesis: Nemesis) -> Cure:
    faults = nemesis.node().disk.faults
    _set_risk(faults, "write", nemesis.tape.real("risk", 0.01, 1.0))
    return partial(_set_risk, faults, "write", 0.0)


def _set_risk(faults: Faults, operation: Operation, risk: float) -> None:
    faults.risk[operation] = risk


def _point(nemesis: Nemesis) -> Cure:
    """At one of the fault points that were reached so far: an error, a pause, or no power."""
    known = sorted(nemesis.world.reached)
    node = nemesis.node()
    if not known:
        return _nothing
    happens = (_fail_here, node.die_here, node.pause)
    node.arm(nemesis.tape.pick("point", known), nemesis.tape.pick("happens", happens))
    return partial(_disarm, node)


def _disarm(node: Node) -> None:
    node.points.disarm()
    node.resume()
    node.restart()


def _fail_here() -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def _nothing() -> None:
    pass


KINDS: Mapping[str, Callable[[Nemesis], Cure]] = {
    "kill": _kill,
    "crash": _crash,
    "crash-midway": _crash_midway,
    "crash-all": _crash_all,
    "pause": _pause,
    "isolate": _isolate,
    "split": _split,
    "bridge": _bridge,
    "cut-pair": _cut_pair,
    "one-way": _one_way,
    "reset": _reset,
    "slow-link": _slow_link,
    "lossy-link": _lossy_link,
    "jump": _jump,
    "drift": _drift,
    "slow-disk": _slow_disk,
    "full-disk": _full_disk,
    "failed-sync": _failed_sync,
    "failed-write": _failed_write,
    "point": _point,
}
