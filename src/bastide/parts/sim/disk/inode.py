"""One file's bytes: the page cache, the sectors below it, and what is on its way between them.

    write ──► content (cache)  | aaaa | bbbb | cccc | dddd |      every reader sees this
                                  │      │ │           │
              pending versions    a1     b1 b2         d1         not yet ordered to the platter
                                  ▼      ▼             ▼
              durable sectors  | .... | BBBB | cccc | DDDD |      sync: the newest of each goes down

Between two syncs the kernel may write back any page at any time, in any order. So a crash finds,
for each sector by itself, either what is durable or any version since; and any of the lengths
since. A sector (512 bytes) is never half written, and a write leaves the rest of its sector as it
was: what drives promise, and SQLite calls powersafe overwrite.

A sync brings down what was there when it began. Versions carry the number of syncs that had begun
before them, so that one which ends late, or after a later one, knows what is its own.

A sync that fails is worse than one that was never asked: Linux reports it once and then calls the
pages clean. Some reached the platter and some did not, the cache still shows all of them, and no
later sync writes them again; only a new write to a sector makes it dirty. That is `forget`.

Cost: a copy of each sector written, and at most VERSIONS_MAX copies of one between two syncs. Where
it differs from a real disk: writeback is drawn by sector, not by page, which tears more; and the
cache never drops a clean page, so what a lying drive left below shows only after a crash.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")

SECTOR_BYTES = 512
VERSIONS_MAX = 8  # of one sector between two syncs; the oldest of more was never written back


class Dice(Protocol):
    """Where chance comes from: `random.Random`, or what stands for it and remembers."""

    def random(self) -> float: ...

    def randrange(self, stop: int, /) -> int: ...


def draw_part(dice: Dice) -> float:
    """How much of what is pending survives a crash: often nothing or all, or else some."""
    return (0.0, 0.5, 0.9, 1.0)[dice.randrange(4)]


class Inode:
    def __init__(self, durable: bytes = b"") -> None:
        self.content = bytearray(durable)
        self.changed_ms = 0
        self._platter = bytearray(durable)
        self._durable_size = len(durable)
        self._turn = 0  # how many syncs have begun
        self._sectors: dict[int, list[tuple[int, bytes]]] = {}  # versions, each with its turn
        self._sizes: list[tuple[int, int]] = []

    @property
    def sector_count(self) -> int:
        return -(-len(self._platter) // SECTOR_BYTES) or 1

    @property
    def durable(self) -> bytes:
        """What is there after a crash for certain."""
        return bytes(_sized(self._platter[:], self._durable_size))

    def write(self, data: bytes, at: int) -> None:
        size = len(self.content)
        if at > size:
            self.content.extend(bytes(at - size))
        self.content[at : at + len(data)] = data
        self._changed(at, at + len(data))
        self._resized(size)

    def truncate(self, size: int) -> None:
        """A longer `size` adds zeros."""
        old = len(self.content)
        _sized(self.content, size)
        self._changed(size, old)
        self._resized(old)

    def _changed(self, begin: int, end: int) -> None:
        if begin >= end:
            return
        for sector in range(begin // SECTOR_BYTES, (end - 1) // SECTOR_BYTES + 1):
            at = sector * SECTOR_BYTES
            version = bytes(self.content[at : at + SECTOR_BYTES])
            self._add(self._sectors.setdefault(sector, []), version)

    def _resized(self, old: int) -> None:
        if len(self.content) != old:
            self._add(self._sizes, len(self.content))

    def _add(self, versions: list[tuple[int, T]], version: T) -> None:
        versions.append((self._turn, version))
        oldest = len(versions) - 1 - VERSIONS_MAX
        if oldest >= 0 and versions[oldest][0] == self._turn:
            del versions[oldest]

    def begin_sync(self) -> int:
        """Its number, for how it ends: `settle` or `forget`."""
        self._turn += 1
        return self._turn - 1

    def dirty(self, until: int) -> list[int]:
        """Sectors that sync `until` brings down."""
        return [sector for sector, found in self._sectors.items() if found[0][0] <= until]

    def settle(self, until: int) -> None:
        """Sync `until` has ended well."""
        for sector in self.dirty(until):
            self._place(sector, self._take(sector, until))
        due = [size for turn, size in self._sizes if turn <= until]
        self._sizes = [(turn, size) for turn, size in self._sizes if turn > until]
        if due:
            self._durable_size = due[-1]
            del self._platter[self._durable_size :]

    def forget(self, until: int, reached: Callable[[], bool]) -> None:
        """Sync `until` has failed: `reached` tells of each sector whether it came down, and all are
        clean. The length is the file system's journal's, and stays pending.
        """
        for sector in self.dirty(until):
            version = self._take(sector, until)
            if reached():
                self._place(sector, version)

    def lose(self, sector: int, until: int) -> None:
        """The drive said that it wrote this dirty sector, and did not."""
        self._take(sector, until)

    def misdirect(self, sector: int, other: int, until: int) -> None:
        """The drive wrote this dirty sector over another one."""
        self._place(other, self._take(sector, until))

    def rot(self, at: int, bit: int) -> None:
        """Flips a durable bit; in the cache too, unless that sector is dirty and will go down."""
        self._platter[at] ^= 1 << bit
        if at // SECTOR_BYTES not in self._sectors and at < len(self.content):
            self.content[at] ^= 1 << bit

    def copy(self) -> "Inode":
        """As the next process finds it."""
        copy = Inode()
        copy.content[:] = self.content
        copy.changed_ms, copy._turn = self.changed_ms, self._turn
        copy._platter[:], copy._durable_size = self._platter, self._durable_size
        copy._sectors = {sector: list(found) for sector, found in self._sectors.items()}
        copy._sizes = list(self._sizes)
        return copy

    def torn(self, dice: Dice) -> "Inode":
        """As the machine finds it after a crash."""
        part = draw_part(dice)
        image = self._platter[:]
        for sector, versions in self._sectors.items():
            if dice.random() < part:
                _put(image, sector, _drawn(versions, dice))
        size = self._durable_size
        if self._sizes and dice.random() < part:
            size = _drawn(self._sizes, dice)
        torn = Inode(bytes(_sized(image, size)))
        torn.changed_ms = self.changed_ms
        return torn

    def _take(self, sector: int, until: int) -> bytes:
        """The newest version that is due; those that came later stay pending."""
        versions = self._sectors.pop(sector)
        later = [version for version in versions if version[0] > until]
        if later:
            self._sectors[sector] = later
        return versions[len(versions) - len(later) - 1][1]

    def _place(self, sector: int, version: bytes) -> None:
        _put(self._platter, sector, version)


def _drawn(versions: list[tuple[int, T]], dice: Dice) -> T:
    newest = dice.random() < 0.5
    return versions[-1 if newest else dice.randrange(len(versions))][1]


def _put(image: bytearray, sector: int, version: bytes) -> None:
    at = sector * SECTOR_BYTES
    if len(image) < at:
        image.extend(bytes(at - len(image)))
    image[at : at + SECTOR_BYTES] = version.ljust(SECTOR_BYTES, b"\0")


def _sized(content: bytearray, size: int) -> bytearray:
    """Cut, or with zeros behind."""
    del content[size:]
    content.extend(bytes(size - len(content)))
    return content
