"""Loads, and waiting for what comes from outside."""

import asyncio
import time


class Loads:
    """Counts its calls; with a `gate`, each waits until the gate is opened."""

    def __init__(self, value=b"loaded", gate=None, error=None):
        self.value = value
        self.gate = gate
        self.error = error
        self.count = 0
        self.cancelled = 0
        self.began = asyncio.Event()

    async def __call__(self):
        self.count += 1
        value = self.value
        self.began.set()
        try:
            await (self.gate.wait() if self.gate else asyncio.sleep(0))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error:
            raise self.error
        return value


def loaded(cache, key, load, *, ttl_s=60, absent_ttl_s=60):
    return cache.get_or_load(key, load, ttl_s=ttl_s, absent_ttl_s=absent_ttl_s)


async def eventually(so, within_s=5):
    """Waits for what only another process or the network can bring."""
    end_s = time.monotonic() + within_s
    while not (found := await so()):
        assert time.monotonic() < end_s, "it did not come"
        await asyncio.sleep(0.005)
    return found
