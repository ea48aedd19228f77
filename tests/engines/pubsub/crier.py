"""A process that publishes, and says what it hears.

python crier.py URL CLIENT NAME COUNT    says "ready"; after a line publishes COUNT messages on
                                         `cry:NAME`, and says every value that it hears on `cry:*`
"""

import asyncio
import sys

from bastide.base.settings import parse_url
from bastide.engines.pubsub.backends.redis import open_redis
from bastide.engines.pubsub.service import opened


async def main(url: str, client: str, name: str, count: int) -> None:
    async with (
        open_redis(parse_url(url)) as backend,
        opened(backend, client) as pubsub,
        pubsub.subscribe("cry:*") as messages,
    ):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        crying = asyncio.create_task(cry(pubsub, name, count))
        async for message in messages:
            print(message.value.decode(), flush=True)
        await crying


async def cry(pubsub, name: str, count: int) -> None:
    for n in range(count):
        await pubsub.publish(f"cry:{name}", f"{name}:{n}".encode())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
