"""Who comes first: keys below one prefix, each under its owner's lease, by when they were created.

    /bastide/shop/locks/stock/5c    created 7     holds
    /bastide/shop/locks/stock/61    created 9     waits for 5c to be deleted
    /bastide/shop/locks/stock/7f    created 12    waits for 61

Each watches the one before it and nothing else, so that one who leaves wakes one. If that one was
waiting too and has given up, the next one before is looked for. Nobody waits for ever: keys go with
their leases. The revision in which a key was created is its owner's token: the queue is in its
order, so it rises from each owner to the next.

The keys and the order are those of etcd's own recipes (clientv3/concurrency) and of its lock and
election services, so `etcdctl lock` stands in the same queue.

**Lost answers.** A request for a place whose answer is lost is asked again: it creates the key only
if there is none, so that it is made once. Whoever gives up takes his place away, and if it is not
known whether he had one, looks again later (LATE_S) for one that came late; at the worst it goes
with its lease.
"""

import asyncio
from contextlib import suppress

from bastide.base.errors import Refusal, Unavailable
from bastide.base.work import jittered
from bastide.engines.coord.contract import (
    WAITERS_MAX,
    Compare,
    CoordAway,
    Delete,
    Found,
    LeaseMissing,
    LockHeld,
    Put,
    Range,
    RevisionCompacted,
    TooMany,
    Txn,
    TxnDone,
    Watch,
)
from bastide.engines.coord.core.spans import prefix_end
from bastide.engines.coord.model import Keys
from bastide.engines.coord.service.names import check_lease

ASKS_MAX = 3
RETRY_S = 0.2
LEAVE_S = 1.0  # how long who gives up waits for his key to be gone
LATE_S = 10.0
RETRY_AFTER_S = 1.0
HELD = "somebody else holds it"


class Place:
    """Of one lease in one queue. `created` 0: it is not known yet whether it is there. `users`: how
    often it was entered and not left.
    """

    def __init__(self, prefix: bytes, lease: int) -> None:
        self.prefix = prefix
        self.key = prefix + b"%x" % lease
        self.lease = lease
        self.created = 0
        self.users = 0
        self.is_late = False  # an answer is out, or lost: the key may still come
        self.asking = asyncio.Lock()


class Queues:
    """All queues of one client. Ends with `close`."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._places: dict[int, dict[bytes, Place]] = {}  # by lease
        self._leaving: dict[bytes, asyncio.Task[None]] = {}
        self._late: dict[bytes, asyncio.TimerHandle] = {}

    async def close(self) -> None:
        """Places that are being taken away are left to their leases."""
        for handle in self._late.values():
            handle.cancel()
        leaving = list(self._leaving.values())
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)

    def forget(self, lease: int) -> None:
        """It has ended, and its places went with it."""
        self._places.pop(lease, None)

    # --- entering -------------------------------------------------------------------------------

    async def enter(
        self, prefix: bytes, lease: int, value: bytes, *, wait_s: float | None, again: bool
    ) -> Place:
        """The first place, when its turn has come.

        Raises:
            AskInvalid, LockHeld, LeaseMissing, TooMany, and whatever a put is refused for.
        """
        check_lease(lease)
        place = await self._place(prefix, lease, again=again)
        place.users += 1
        try:
            async with asyncio.timeout(wait_s or None):
                await self._wait(place, value, is_patient=wait_s != 0, again=again)
        except TimeoutError as error:
            await asyncio.wait([self._leave(place)], timeout=LEAVE_S)
            raise LockHeld(f"somebody else has held it for {wait_s} s") from error
        except LockHeld:
            await asyncio.wait([self._leave(place)], timeout=LEAVE_S)
            raise
        except BaseException:
            self._leave(place)
            raise
        return place

    async def _place(self, prefix: bytes, lease: int, *, again: bool) -> Place:
        new = Place(prefix, lease)
        while True:
            if (leaving := self._leaving.get(new.key)) is not None:
                await asyncio.wait([leaving], timeout=LEAVE_S)
                if not leaving.done():
                    raise CoordAway("the place that it had is not given up yet")
            known = self._known(new)
            if known is None:
                self._places.setdefault(lease, {})[new.key] = new
                return new
            is_there = not known.created or await self._created(known.key) == known.created
            if self._known(new) is not known:
                continue
            if is_there and again:
                return known
            if is_there:
                raise LockHeld(f"lease {lease:x} holds it itself, or waits for it")
            self._drop(known)

    def _known(self, place: Place) -> Place | None:
        return self._places.get(place.lease, {}).get(place.key)

    def _drop(self, place: Place) -> None:
        if self._known(place) is place:
            del self._places[place.lease][place.key]
            if not self._places[place.lease]:
                del self._places[place.lease]

    async def _wait(self, place: Place, value: bytes, *, is_patient: bool, again: bool) -> None:
        async with place.asking:
            if not place.created:
                await self._ask(place, value, is_patient=is_patient, again=again)
        while before := (found := await self._look(place, is_patient=is_patient)).items:
            if not is_patient:
                raise LockHeld(HELD)
            await self._gone(before[0].key, found.revision)

    async def _ask(self, place: Place, value: bytes, *, is_patient: bool, again: bool) -> None:
        """For the place's key, unless it is there; without patience, unless anybody's is."""
        end = prefix_end(place.prefix)
        mine = Compare("created", "equal", 0, place.key)
        anybody = Compare("created", "equal", 0, place.prefix, end)
        txn = Txn(
            [mine if is_patient else anybody],
            [
                Put(place.key, value, lease=place.lease),
                Range(place.prefix, end, count_only=True),
            ],
            [Range(place.key)],
        )
        is_ours = again or place.key in self._late
        done = await self._answered(place, txn)
        found = done.results[-1]
        assert isinstance(found, Found)
        if done.succeeded:
            place.created = done.revision
            if found.count - 1 > WAITERS_MAX:
                raise TooMany(f"{WAITERS_MAX} wait already", retry_after_s=RETRY_AFTER_S)
        elif not found.items:
            raise LockHeld(HELD)
        elif is_ours or place.is_late:
            place.created = found.items[0].created
        else:  # another process's: it stays
            self._drop(place)
            raise LockHeld(f"lease {place.lease:x} holds it already, or waits for it")

    async def _answered(self, place: Place, txn: Txn) -> TxnDone:
        """Asks ASKS_MAX times, if answers are lost; then the place `is_late`.

        Raises:
            CoordAway
        """
        asked = lost = 0
        while True:
            place.is_late = True
            asked += 1
            try:
                done = await self._keys.txn(txn)
            except CoordAway as away:
                lost += away.outcome == "unknown"
                place.is_late = lost > 0
                if not lost or asked == ASKS_MAX:
                    raise
            except Refusal:
                place.is_late = lost > 0
                raise
            else:
                place.is_late = lost > 0
                return done
            await asyncio.sleep(jittered(RETRY_S))

    async def _look(self, place: Place, *, is_patient: bool) -> Found:
        """The one before it, if there is one. A store that is away for a while costs nobody who is
        patient his place.

        Raises:
            LeaseMissing: the place itself is gone.
        """
        before = Range(
            place.prefix,
            prefix_end(place.prefix),
            limit=1,
            sort_by="created",
            descending=True,
            keys_only=True,
            created_max=place.created - 1,
        )
        while True:
            try:
                done = await self._keys.txn(Txn((), [Range(place.key), before]))
                break
            except Unavailable:
                if not is_patient:
                    raise
            await asyncio.sleep(jittered(RETRY_S))
        own, found = done.results
        assert isinstance(own, Found)
        assert isinstance(found, Found)
        if [item.created for item in own.items] != [place.created]:
            raise LeaseMissing(f"lease {place.lease:x} has ended, and its place is gone")
        return found

    async def _gone(self, key: bytes, revision: int) -> None:
        """Waits for `key`, which was there at `revision`, to be deleted; or for anything that makes
        it worth while to look.
        """
        watch = Watch(key, from_revision=revision + 1, puts=False)
        try:
            async with self._keys.watch(watch) as events:
                async for told in events:
                    if told.events:
                        return
        except RevisionCompacted:
            return
        except Unavailable:
            await asyncio.sleep(jittered(RETRY_S))

    # --- leaving --------------------------------------------------------------------------------

    async def leave(self, *, lease: int, key: bytes, created: int) -> None:
        """Of one who has had his turn, as often as he entered. No error if it is gone by now. If it
        fails, it is tried again in the background.
        """
        place = self._places.get(lease, {}).get(key)
        if place is not None and place.created == created:
            place.users -= 1
            if place.users:
                return
            self._drop(place)
            if place.is_late:
                self._look_later(place)
        try:
            await self._keys.txn(_deletion(key, created))
        except BaseException:
            self._take_away(key, created)
            raise

    def _leave(self, place: Place) -> "asyncio.Future[None]":
        """Takes the place away, in a task of its own: who leaves may be cancelled."""
        place.users -= 1
        is_last = not place.users and self._known(place) is place
        if is_last:
            self._drop(place)
            if place.is_late:
                self._look_later(place)
            if place.created or place.is_late:
                return self._take_away(place.key, place.created)
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def _take_away(self, key: bytes, created: int) -> "asyncio.Task[None]":
        task = asyncio.create_task(self._delete(key, created), name="coord place")
        self._leaving[key] = task
        task.add_done_callback(lambda _: self._leaving.pop(key, None))
        return task

    async def _delete(self, key: bytes, created: int) -> None:
        """Until it is known to be gone. `created` 0: whichever is there."""
        while True:
            with suppress(Refusal):
                if found := created or await self._created(key):
                    await self._keys.txn(_deletion(key, found))
                return
            await asyncio.sleep(jittered(RETRY_S))

    def _look_later(self, place: Place) -> None:
        if (earlier := self._late.get(place.key)) is not None:
            earlier.cancel()
        loop = asyncio.get_running_loop()
        self._late[place.key] = loop.call_later(LATE_S, self._look_late, place)

    def _look_late(self, place: Place) -> None:
        """A request whose answer was lost may have made the key after it was taken away."""
        if place.key in self._leaving:
            self._look_later(place)
            return
        del self._late[place.key]
        if self._known(place) is None:
            self._take_away(place.key, 0)

    async def _created(self, key: bytes) -> int:
        """0: it is not there."""
        found = (await self._keys.range(Range(key))).items
        return found[0].created if found else 0


def _deletion(key: bytes, created: int) -> Txn:
    """Of this life of `key`, and of no later one."""
    return Txn([Compare("created", "equal", created, key)], [Delete(key)])
