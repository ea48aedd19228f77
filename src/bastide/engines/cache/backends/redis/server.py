"""One server: the connection on which everything is heard in order, and the lease that it gives.

Redis pushes a key that we have read as soon as anybody changes it (CLIENT TRACKING, by key: with
BCAST the pushes come after the replies to later commands, and a reply would prove nothing). Pushes
and replies share the connection, so a reply proves that whatever the server pushed before has come.

    here                        server                       another process
     │── GET bell, beat ───────>│                                      │
     │<─────────────── replies ─│  all that was pushed before is here: │
     │   lease: HOLD_S from     │  near answers for HOLD_S             │
     │   when the beat was sent │                                      │
     │                          │<──────── invalidate k: number 7 ─────│
     │<── push k, push bell ────│──────── the roll: who must say 7 ───>│
     │── GET bell, beat ───────>│                                      │ waits
     │<────────────── number 7 ─│  what came before 7 is worked off    │
     │── beat: heard 7 ────────>│──────── push roll ──────────────────>│ returns

A holder that doesn't say so is waited for until the lease that it may have got before the
invalidation is over; then it is struck off the roll, if it has not beaten since, and nobody waits
for it again. It finds that out at its next beat, and enrols anew.

A process that has just enrolled does not know whether the roll is whole (the server may have been
started again, or has evicted it), so for its first LEASE_S it waits the full time; and so it does
when it is not on the roll itself any more, or its connection is lost while it waits.

What could not be taken back, since the server was away from here, is owed: it is taken back before
anything else is asked on the next connection. A server that was started again has no old answers.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from hashlib import sha1
from itertools import islice
from typing import Protocol

from bastide.base.rt import runtime
from bastide.engines.cache.backends.redis.scripts import SCRIPTS
from bastide.engines.cache.contract import LEASE_S
from bastide.parts.redis.connection import Connection
from bastide.parts.redis.contract import Command, ServerAway, ServerRefused, Word
from bastide.parts.redis.link import Greeting, Link
from bastide.parts.redis.reply import Reply

BEAT_S = LEASE_S / 4
HOLD_S = LEASE_S * 0.95  # clocks of two machines may run differently fast
HOLDER_BYTES = 8
RUN_CHARACTERS = 12
VERSION_MIN = 7  # of Redis: SET with NX and GET
COUNT = b"#"
OWED_NAMES_MAX = 30_000
NAMES_AT_ONCE = 3_000
# What tells that this connection is of no more use, whoever is to blame.
FATAL = ("NOSCRIPT", "READONLY", "LOADING", "MASTERDOWN", "NOAUTH")

_SHA = {
    name: sha1(text.encode(), usedforsecurity=False).hexdigest() for name, text in SCRIPTS.items()
}

Roll = Mapping[bytes, bytes]


class Heard(Protocol):
    """A client's store: what it does with what is heard."""

    def changed(self, kind: bytes, key: str) -> None: ...


class Lease:
    """`model.Hearing`. What was read under it may be answered as long as it lasts."""

    def __init__(self) -> None:
        self.until_s = 0.0
        self._monotonic = runtime.current().clock.monotonic

    def lasts(self) -> bool:
        return self._monotonic() < self.until_s


class Server(Greeting):
    def __init__(self) -> None:
        self.link: Link
        self.lease = Lease()
        self.space = b""
        self.holder = b""
        self._stores: dict[bytes, Heard] = {}
        self._owed: dict[bytes, None] = {}
        self._heard = 0
        self._beats = 0
        self._enrolled_s = 0.0
        self._bell = asyncio.Event()
        self._rolled = asyncio.Event()
        self._beating: asyncio.Task[None] | None = None
        self._monotonic = runtime.current().clock.monotonic
        self._waited = runtime.current().metrics.counter(
            "bastide_cache_leases_waited_total",
            "Invalidations that waited for the lease of a near cache that did not answer.",
        )

    def name(self, client: bytes, kind: bytes, key: str) -> bytes:
        return self.space + _named(client, kind, key)

    def attach(self, client: bytes, store: Heard) -> None:
        """From here on `store` is told of what others change."""
        assert client not in self._stores, f"{client!r} is open already: one of both would be deaf"
        self._stores[client] = store

    def detach(self, client: bytes) -> None:
        del self._stores[client]

    async def greet(self, connection: Connection) -> None:
        about = _about(await connection.call("INFO", "server"))
        self.space = b"bastide:%b:" % about[b"run_id"][:RUN_CHARACTERS]
        loads = [("SCRIPT", "LOAD", text) for text in SCRIPTS.values()]
        await self.ask_many(connection, [("CLIENT", "TRACKING", "ON"), *loads])
        self.lease = Lease()
        await self._enrol(connection)
        await self._pay(connection)
        await self._beat(connection)
        self._beating = asyncio.create_task(self._keep_beating(connection))

    def push(self, items: Sequence[Reply]) -> None:
        if items[0] != b"invalidate":
            return
        if items[1] is None:  # FLUSHALL
            self._renew_lease()
            self._bell.set()
            return
        for name in items[1]:
            client, kind, key = name[len(self.space) :].split(b":", 2)
            if client:
                if store := self._stores.get(client):
                    store.changed(kind, key.decode())
            elif kind == b"bell":
                self._bell.set()
            else:
                self._rolled.set()
                self._rolled = asyncio.Event()

    def part(self) -> None:
        self._renew_lease()
        if self._beating is not None:
            self._beating.cancel()
            self._beating = None

    def command(self, script: str, keys: Sequence[bytes], *words: Word) -> Command:
        return ("EVALSHA", _SHA[script], len(keys), *keys, *words)

    async def run(self, script: str, keys: Sequence[bytes], *words: Word) -> Reply:
        """
        Raises:
            ServerAway, ServerRefused
        """
        return await self.ask(self.link.connection, self.command(script, keys, *words))

    async def ask(self, connection: Connection, command: Command) -> Reply:
        (reply,) = await self.ask_many(connection, [command])
        return reply

    async def ask_many(
        self, connection: Connection, commands: Sequence[Command]
    ) -> Sequence[Reply]:
        replies = await connection.call_many(commands)
        for reply in replies:
            if isinstance(reply, ServerRefused):
                if str(reply).startswith(FATAL):
                    connection.give_up(reply)
                raise reply
        return replies

    async def take_back(self, client: bytes, keys: Sequence[str], kinds: Sequence[bytes]) -> None:
        """Until all who may have a key near have let go of it, or can't answer any more.

        Raises:
            ServerAway, ServerRefused: it is owed.
        """
        names = [_named(client, kind, key) for key in keys for kind in kinds]
        try:
            deleted = await self.link.twice(partial(self._delete, names))
        except (ServerAway, ServerRefused):
            self._owe(names)
            raise
        since_s = self._monotonic()
        whole_s = (self._enrolled_s if deleted.holder in deleted.roll else since_s) + LEASE_S
        if silent := await self._not_heard(deleted):
            self._waited.add()
            await _sleep(since_s + LEASE_S - self._monotonic())
            await self._strike(silent)
        await _sleep(whole_s - self._monotonic())

    async def _delete(self, names: Sequence[bytes], connection: Connection) -> "_Deleted":
        commands = [self._deletion(names), self._read_roll]
        number, roll = await self.ask_many(connection, commands)
        return _Deleted(connection, self.holder, number, roll)

    def _deletion(self, names: Sequence[bytes]) -> Command:
        spaced = (self.space + name for name in names)
        return self.command("invalidate", [self._name("roll"), self._name("bell"), *spaced])

    def _owe(self, names: Sequence[bytes]) -> None:
        room = OWED_NAMES_MAX - len(self._owed)
        self._owed.update(dict.fromkeys(names[:room] if room > 0 else ()))

    async def _pay(self, connection: Connection) -> None:
        while names := list(islice(self._owed, NAMES_AT_ONCE)):
            await self.ask(connection, self._deletion(names))
            for name in names:
                self._owed.pop(name, None)

    async def leave(self) -> None:
        """So that nobody waits for us."""
        self.part()
        with suppress(ServerAway, ServerRefused):
            await self.link.connection.call("HDEL", self._name("roll"), self.holder)

    async def _not_heard(self, deleted: "_Deleted") -> Roll:
        """Those who have not worked it off within LEASE_S, as the roll had them first: who has
        beaten since may have another lease.
        """
        silent = deleted.silent(deleted.roll)
        with suppress(ServerAway, ServerRefused, TimeoutError):
            async with asyncio.timeout(LEASE_S):
                while silent:
                    rolled = self._rolled
                    (roll,) = await self.ask_many(deleted.connection, [self._read_roll])
                    if deleted.holder not in roll:  # another roll: who is missing says nothing
                        return silent
                    still = deleted.silent(roll)
                    silent = {h: said for h, said in silent.items() if h in still}
                    if silent:
                        await rolled.wait()
        return silent

    @property
    def _read_roll(self) -> Command:
        """Tracked: its next change is pushed."""
        return ("HGETALL", self._name("roll"))

    async def _strike(self, silent: Roll) -> None:
        with suppress(ServerAway, ServerRefused):
            for holder, said in silent.items():
                await self.run("strike", [self._name("roll")], holder, said)

    async def _enrol(self, connection: Connection) -> None:
        self.holder = runtime.current().chance.token(HOLDER_BYTES).hex().encode()
        self._heard = await self.ask(
            connection, self.command("enrol", [self._name("roll")], self.holder)
        )
        self._enrolled_s = self._monotonic()

    async def _keep_beating(self, connection: Connection) -> None:
        with suppress(ServerAway, ServerRefused):
            while True:
                heard = self._heard
                await self._beat(connection)
                if self._heard == heard:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(BEAT_S):
                            await self._bell.wait()
        connection.give_up()

    async def _beat(self, connection: Connection) -> None:
        """What the reply proves: all that was pushed before the server ran this has come. The bell
        is read first, so that whoever rings it after the beat is heard at once.
        """
        self._bell.clear()
        sent_s, lease = self._monotonic(), self.lease
        self._beats += 1
        said = b"%d %d" % (self._heard, self._beats)
        beat = self.command("beat", [self._name("roll")], self.holder, said)
        _, number = await self.ask_many(connection, [("GET", self._name("bell")), beat])
        if number < 0:
            await self._enrol(connection)
            return
        self._heard = number
        if self.lease is lease:  # a FLUSHALL before the beat has ended it
            lease.until_s = sent_s + HOLD_S

    def _renew_lease(self) -> None:
        """What was read before is not answered any more."""
        self.lease.until_s = 0.0
        self.lease = Lease()

    def _name(self, what: str) -> bytes:
        return b"%b:%b:" % (self.space, what.encode())


class _Deleted:
    """An invalidation that the server has run as `number`, and whom `roll` had then. `holder` is
    who asked, on `connection`: another one may lead to another server's roll.
    """

    def __init__(self, connection: Connection, holder: bytes, number: int, roll: Roll) -> None:
        self.connection = connection
        self.holder = holder
        self.number = number
        self.roll = roll

    def silent(self, roll: Roll) -> Roll:
        """Those on `roll` who have not worked it off."""
        others = ((h, said) for h, said in roll.items() if h not in (COUNT, self.holder))
        return {holder: said for holder, said in others if int(said.split()[0]) < self.number}


def _named(client: bytes, kind: bytes, key: str) -> bytes:
    """Below the space of one server's run."""
    return b"%b:%b:%b" % (client, kind, key.encode())


async def _sleep(seconds: float) -> None:
    if seconds > 0:
        await asyncio.sleep(seconds)


def _about(reply: Reply) -> Mapping[bytes, bytes]:
    """What INFO says.

    Raises:
        ServerRefused: it is too old, or is no Redis.
    """
    text = reply if isinstance(reply, bytes) else str(reply).encode()
    about = dict(line.split(b":", 1) for line in text.splitlines() if b":" in line)
    version = about.get(b"redis_version", b"?").decode()
    if b"run_id" not in about or not int(version.partition(".")[0]) >= VERSION_MIN:
        raise ServerRefused(f"Redis {version} is there; {VERSION_MIN}.0 or later is needed")
    return about
