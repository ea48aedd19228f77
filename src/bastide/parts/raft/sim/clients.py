"""Who uses the group: unique writes, compare-and-set and linearizable reads on a few registers.

A client asks whom it believes to lead, and goes on asking him until he refuses or does not answer:
so a leader that was cut off or paused keeps those that would notice a stale read. What was not
answered in time has an unknown outcome. Each call is a process of its own, so that a client that
gave up one may make the next.
"""

from collections.abc import Callable, Sequence

from bastide.parts.histories.recorder import Call, Recorder
from bastide.parts.raft.sim.machine import ABSENT, Command
from bastide.parts.raft.sim.node import Answer, Node
from bastide.parts.raft.sim.setting import Setting
from bastide.parts.raft.sim.world import ANY_LIFE

CALLS_MAX = 600  # of one run: the search for an order gets dear beyond


class Clients:
    def __init__(self, setting: Setting) -> None:
        self.recorder = Recorder()
        self.answered = 0
        self.world = setting.world
        self._setting = setting
        self._load = setting.plan.load
        self._random = setting.chance.random
        self._value = ABSENT
        self._calls = 0
        self._seen: dict[int, int] = {}
        self._asks: dict[int, Node] = {}

    def start(self) -> None:
        for client in range(self._load.clients):
            self._next(client)

    def _next(self, client: int) -> None:
        wait_s = self._load.pause_s * 2 * self._random.random()
        self.world.at(self.world.now_s + wait_s, self._begin, client)

    def _begin(self, client: int) -> None:
        if self._calls >= CALLS_MAX:
            return
        if self._random.random() < self._load.write_share:
            self._write(client)
        else:
            self._read(client)

    # --- calls

    def _write(self, client: int) -> None:
        commands, calls = [], []
        for _ in range(self._load.burst):
            self._value += 1
            command = self._command(self._value)
            commands.append(command)
            cas = command.expected is not None
            argument = (command.expected, command.value) if cas else command.value
            calls.append(self._call(client, "cas" if cas else "write", command.key, argument))
        host = self._host(client)
        self._send(host, host.propose, commands, self._until_answered(client, calls))

    def _command(self, value: int) -> Command:
        load, key = self._load, self._random.randrange(self._load.keys)
        padding = "p" * load.padding_bytes
        expected = None
        if self._random.random() < load.cas_share:
            expected = self._seen.get(key, ABSENT)
        return Command(key, value, expected, padding)

    def _read(self, client: int) -> None:
        key = self._random.randrange(self._load.keys)
        call = self._call(client, "read", key, None)
        host = self._host(client)
        if self._random.random() < self._load.aside_share:
            host = self._random.choice(self._setting.all_hosts)
        by_lease = self._random.random() < self._load.lease_share
        self._send(host, host.read, key, by_lease, self._until_answered(client, [call], key)[0])

    def _call(self, client: int, kind: str, key: int, argument: object) -> Call:
        self._calls += 1
        process = f"c{client}.{self._calls}"
        now_s = self.world.now_s
        return self.recorder.invoke(process, kind, now_s, key=str(key), argument=argument)

    def _host(self, client: int) -> Node:
        host = self._asks.get(client)
        if host is None:
            leader = self._setting.leader
            guess = self._random.choice(self._setting.all_hosts)
            host = leader if leader is not None and self._random.random() < 0.8 else guess
            self._asks[client] = host
        return host

    def _send(self, host: Node, do: Callable[..., None], *args: object) -> None:
        self.world.at_node(self.arrival_s(), host, ANY_LIFE, do, *args)

    # --- answers

    def _until_answered(
        self, client: int, calls: Sequence[Call], key: int | None = None
    ) -> Sequence[Answer]:
        waits = Waits(self, client, calls, key)
        self.world.at(self.world.now_s + self._load.timeout_s, waits.end)
        return [waits.answer_of(call) for call in calls]

    def refused(self, client: int) -> None:
        self._asks.pop(client, None)

    def settled(self, client: int) -> None:
        self._next(client)

    def saw(self, key: int | None, result: object) -> None:
        """`key` of what was read, None of a write."""
        self.answered += 1
        if key is not None and isinstance(result, int):
            self._seen[key] = result

    def arrival_s(self) -> float:
        net = self._setting.network.net
        return self.world.now_s + net.delay_s * 2 * self._random.random()


class Waits:
    """Calls that were sent together, and who waits for them."""

    def __init__(
        self, clients: Clients, client: int, calls: Sequence[Call], key: int | None
    ) -> None:
        self._clients = clients
        self._world = clients.world
        self._key = key
        self._client = client
        self._open = {call.number: call for call in calls}

    def answer_of(self, call: Call) -> Answer:
        def answer(happened: bool, result: object) -> None:
            self._world.at(self._clients.arrival_s(), self._take, call, happened, result)

        return answer

    def _take(self, call: Call, happened: bool, result: object) -> None:
        if self._open.pop(call.number, None) is None:
            return  # it was given up
        now_s = self._world.now_s
        if happened:
            call.returned(now_s, result)
            self._clients.saw(self._key, result)
        else:
            call.failed(now_s)
            self._clients.refused(self._client)
        if not self._open:
            self._clients.settled(self._client)

    def end(self) -> None:
        if not self._open:
            return
        for call in self._open.values():
            call.unknown(self._world.now_s)
        self._open.clear()
        self._clients.refused(self._client)
        self._clients.settled(self._client)
