"""A failure is made plain: fewer choices, lower ones, and it still fails."""

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.parts.sim.campaign import shrunk
from bastide.parts.sim.draws import Draws, Recording
from bastide.parts.sim.nemesis import Nemesis
from bastide.parts.sim.shrink import shrink
from bastide.parts.sim.simulation import Simulation, run


class Replica:
    """Of a register: what it was told, and by whom it may be asked."""

    def __init__(self):
        self.value = 0

    async def serve(self):
        async with await asyncio.start_server(self._speak, "0.0.0.0", 7) as server:
            await server.serve_forever()

    async def _speak(self, reader, writer):
        while line := await reader.readline():
            verb, value = line.split()
            if verb == b"put":
                self.value = int(value)
            writer.write(b"%d\n" % self.value)
        writer.close()


async def tell(host, verb, value):
    reader, writer = await asyncio.open_connection(host, 7)
    writer.write(b"%s %d\n" % (verb, value))
    found = int(await reader.readline())
    writer.close()
    return found


class Stale(Exception):
    pass


async def replicated(world):
    """The planted bug: a write is acknowledged by one of the replicas, and told to the other later;
    a read may go to either.
    """
    names = ("one", "other")
    for name in names:
        world.node(name).start(Replica().serve)
    await asyncio.sleep(1)
    client, tape, wanted, actions = world.node("client"), world.draws.tape("client"), 0, []
    while tape.more("action", 30):
        if tape.chance("put", 0.5):
            wanted = tape.integer("value", 1, 1_000)
            actions.append(("put", wanted))
            await client.call(tell, "one", b"put", wanted)
            asyncio.get_running_loop().call_later(0.5, client.call, tell, "other", b"put", wanted)
        elif tape.chance("get", 0.8):
            actions.append(("get",))
            found = await client.call(tell, tape.pick("from", names), b"get", 0)
            if found != wanted:
                raise Stale(actions)
        else:
            await asyncio.sleep(tape.real("rest", 0.0, 1.0))


REPLICATED = Simulation("replicated", "a register with a planted bug", replicated)


def first_failure():
    outcomes = (run(REPLICATED, seed) for seed in range(50))
    return next(one for one in outcomes if one.failed)


def test_a_planted_bug_is_shrunk_to_its_two_actions():
    failed = first_failure()
    assert len(failed.error.args[0]) > 2
    found = shrunk(REPLICATED, failed)
    again = run(REPLICATED, found.seed, recording=found)
    assert again.error.args[0] == [("put", 1), ("get",)]


def test_a_recording_is_replayed_from_a_file(tmp_path):
    failed = first_failure()
    path = tmp_path / "a.tape"
    path.write_bytes(msgspec.json.encode(failed.recording))
    recording = msgspec.json.decode(path.read_bytes(), type=Recording)
    assert run(REPLICATED, recording.seed, recording=recording).digest == failed.digest


async def unlucky(world):
    """Fails only if a node is down while it is asked."""
    nodes = [world.node(name) for name in "abc"]
    for node in nodes:
        node.start(Replica().serve)
    nemesis = Nemesis(world, nodes, kinds=["pause", "crash", "jump", "isolate"])
    await nemesis.torment(for_s=60)
    assert world.struck["crash"] < 1


def test_of_all_faults_those_are_left_that_it_takes():
    simulation = Simulation("unlucky", "fails by a crash", unlucky)
    failed = next(o for seed in range(20) if (o := run(simulation, seed)).failed)
    found = shrunk(simulation, failed)
    assert run(simulation, found.seed, recording=found).faults == {"crash": 1}


class Toy:
    """A run without a world: draws, and fails as it is told."""

    def __init__(self, draw, is_wrong):
        self.draw, self.is_wrong, self.tries = draw, is_wrong, 0

    def __call__(self, recording):
        self.tries += 1
        draws = Draws(recording.seed, noise_seed=recording.noise, tapes=recording.tapes)
        self.drawn = self.draw(draws)
        spans = {name: list(tape.spans) for name, tape in draws.tapes.items()}
        return (draws.recording("toy"), spans) if self.is_wrong(self.drawn) else None

    def shrunk(self, seed):
        found = self(Recording(simulation="toy", seed=seed, noise=seed))
        if found is None:
            return None
        self(shrink(*found, self))
        return self.drawn


def numbers(draws):
    tape, drawn = draws.tape("numbers"), []
    while tape.more("number", 10):
        drawn.append(tape.integer("n", 0, 1_000))
    return drawn


@pytest.mark.parametrize(
    ("is_wrong", "plainest"),
    [
        (lambda drawn: any(n >= 700 for n in drawn), [700]),
        (lambda drawn: len(drawn) >= 3, [0, 0, 0]),
        (lambda drawn: any(n >= 100 for n in drawn[1:]), [0, 100]),
    ],
)
def test_numbers_are_as_few_and_as_low_as_can_be(is_wrong, plainest):
    toy = Toy(numbers, is_wrong)
    found = {tuple(drawn) for seed in range(30) if (drawn := toy.shrunk(seed)) is not None}
    assert found == {tuple(plainest)}


def test_no_more_runs_are_made_than_allowed():
    toy = Toy(numbers, lambda drawn: sum(drawn) >= 100)
    seed = next(seed for seed in range(100) if toy(recorded(seed)))
    toy.tries = 0
    shrink(*toy(recorded(seed)), toy, tries_max=50)
    assert toy.tries <= 51


def recorded(seed):
    return Recording(simulation="toy", seed=seed, noise=seed)


@given(st.integers(0, 1 << 30))
def test_what_was_recorded_draws_the_same_again(seed):
    def draw(draws):
        tape = draws.tape("a")
        with tape.span():
            drawn = [tape.integer("i", 5, 9), tape.chance("c", 0.3), tape.real("r", -1, 1)]
        return [*drawn, tape.pick("p", "abc"), *numbers(draws), draws.noise("n").random()]

    first = Draws(seed)
    drawn = draw(first)
    recording = first.recording("toy")
    assert draw(Draws(seed, noise_seed=recording.noise, tapes=recording.tapes)) == drawn
    plainest = draw(Draws(seed, tapes={}))
    assert plainest[:4] == [5, False, -1.0, "a"]
    assert len(plainest) == 5
