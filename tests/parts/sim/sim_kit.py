"""A world for one coroutine function, and what most tests look at."""

import asyncio

from bastide.parts.sim.campaign import run_twice
from bastide.parts.sim.simulation import Simulation, run


def simulated(work, seed=1, **options):
    """Runs `work(world)`; the outcome, after raising what failed."""
    outcome = outcome_of(work, seed, **options)
    if outcome.error is not None:
        raise outcome.error
    return outcome


def same_twice(work, seed=1):
    outcome = run_twice(Simulation("test", "a test", work), seed)
    if outcome.error is not None:
        raise outcome.error
    return outcome


def outcome_of(work, seed=1, **options):
    return run(Simulation("test", "a test", work), seed, **options)


async def echo(reader, writer):
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


async def serve_echo(port=7):
    async with await asyncio.start_server(echo, "0.0.0.0", port) as server:
        await server.serve_forever()


async def ask_echo(host, line=b"hello\n", port=7):
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(line)
        return await reader.readline()
    finally:
        writer.close()


def echoing(world, name="server"):
    node = world.node(name)
    node.start(serve_echo)
    return node


async def until(condition, step_s=0.1):
    while not condition():  # noqa: ASYNC110 (a condition of another node, which tells nobody)
        await asyncio.sleep(step_s)
