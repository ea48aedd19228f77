"""How long until a broker answers: it has made a topic that was asked for.

thread      `bastide.testing.kafka`, in a process that has begun one before: what a test pays
process     `bastide up --only log`, from nothing: the interpreter, all imports, the whole town
"""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

from bastide.base.errors import Unavailable
from bastide.base.manifest import load
from bastide.base.rt import runtime
from bastide.engines.log.bench.asking import Asker, metadata_request
from bastide.parts.http.bench.servers import HOST, SERVER_CORE, free_port, on_core

FIXTURE = "bastide.testing.kafka:running_kafka"
STARTS_MIN = 3
LOOK_S = 0.002
START_S = 30.0


async def start(directory: Path, seconds: float) -> Mapping[str, float]:
    threads_ms: list[float] = []
    processes_ms: list[float] = []
    await asyncio.to_thread(_thread_ms)  # imports
    until_s = runtime.monotonic() + seconds
    while len(threads_ms) < STARTS_MIN or runtime.monotonic() < until_s:
        threads_ms.append(await asyncio.to_thread(_thread_ms))
        processes_ms.append(await _process_ms(directory / f"town-{len(processes_ms)}"))
    return {"thread_ms_p50": median(threads_ms), "process_ms_p50": median(processes_ms)}


def _thread_ms() -> float:
    running_kafka: Any = load(FIXTURE)
    began_s = runtime.monotonic()
    with running_kafka() as kafka:
        asyncio.run(_asked(int(kafka.address.rpartition(":")[2])))
        return (runtime.monotonic() - began_s) * 1000


async def _process_ms(directory: Path) -> float:
    """
    Raises:
        Unavailable: it did not start.
    """
    port = free_port()
    environ = {"BASTIDE_HTTP": f"{HOST}:0", "BASTIDE_LOG_KAFKA": f"{HOST}:{port}"}
    words = ("-m", "bastide", "up", "--only", "log", "--data", str(directory))
    began_s = runtime.monotonic()
    with on_core(SERVER_CORE):
        process = await asyncio.create_subprocess_exec(
            sys.executable, *words, stdout=DEVNULL, env={**os.environ, **environ}
        )
    try:
        async with asyncio.timeout(START_S):
            while not await _answers(port):
                if process.returncode is not None:
                    raise Unavailable("a town did not start: it has said why above")
                await asyncio.sleep(LOOK_S)
        return (runtime.monotonic() - began_s) * 1000
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _answers(port: int) -> bool:
    try:
        await _asked(port)
    except OSError:
        return False
    return True


async def _asked(port: int) -> None:
    """Has it make a topic."""
    async with Asker.connected(port) as asker:
        await asker.ask(metadata_request("first"))
