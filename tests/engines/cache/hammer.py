"""A process that reads keys as fast as it can, and says whenever a value is another one.

python hammer.py URL CLIENT KEY...      lines: KEY VALUE, before the read began and after it ended
"""

import asyncio
import sys
import time

from bastide.base.settings import parse_url
from bastide.engines.cache.backends.redis.backend import open_redis
from bastide.engines.cache.service import opened


async def main(url: str, client: str, keys: list[str]) -> None:
    """CLOCK_MONOTONIC is one for all processes of a machine."""
    async with open_redis(parse_url(url)) as backend, opened(backend, client) as cache:
        print("ready", flush=True)
        await asyncio.gather(*(read(cache, key) for key in keys))


async def read(cache, key: str) -> None:
    near = last = began_s = 0
    while last != b"end":
        asked_s = time.monotonic()
        value = await cache.get(key)
        if value == last:
            near += 1
            began_s = asked_s
        else:
            if last:  # the last read of the value before began then
                print("last", key, last.decode(), began_s, near, flush=True)
            last, near, began_s = value, 0, asked_s
        await asyncio.sleep(0)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
