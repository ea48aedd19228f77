"""The four ways of eviction, against what each is in a few plain lines, and against each other."""

import secrets
from random import Random

import pytest

from bastide.engines.cache.core import traces
from bastide.engines.cache.core.lfu import Lfu
from bastide.engines.cache.core.lru import Lru
from bastide.engines.cache.core.s3fifo import S3Fifo
from bastide.engines.cache.core.sieve import Sieve

WAYS = [S3Fifo, Sieve, Lru, Lfu]


class Model:
    """What is held, as a list from the next to go to the newest; a way says which one goes."""

    def __init__(self, room):
        self.room = room
        self.rows = []  # [key, value, bytes, marks]

    def find(self, key):
        return next((row for row in self.rows if row[0] == key), None)

    def used(self):
        return sum(row[2] for row in self.rows)

    def get(self, key):
        row = self.find(key)
        if row is None:
            return None
        self.touch(row)
        return row[1]

    def put(self, key, value, bytes_):
        marks = self.forget(key)
        if bytes_ > self.room:
            return
        while self.used() + bytes_ > self.room:
            self.evict()
        self.rows.append([key, value, bytes_, marks])

    def forget(self, key):
        self.remove(key)
        return 0

    def remove(self, key):
        self.rows = [row for row in self.rows if row[0] != key]


class LruModel(Model):
    def touch(self, row):
        self.rows.remove(row)
        self.rows.append(row)

    def evict(self):
        del self.rows[0]


class LfuModel(Model):
    def touch(self, row):
        self.rows.remove(row)
        row[3] += 1
        self.rows.append(row)

    def forget(self, key):
        row = self.find(key)
        self.remove(key)
        return row[3] + 1 if row else 0

    def evict(self):
        self.rows.remove(min(self.rows, key=lambda row: row[3]))


class SieveModel(Model):
    """NSDI 2024, section 3.1, on a list: the hand is the key it stands on."""

    hand = None

    def touch(self, row):
        row[3] = 1

    def put(self, key, value, bytes_):
        row = self.find(key)
        if row is None or bytes_ > self.room:
            super().put(key, value, bytes_)
            return
        row[1:] = [value, bytes_, 1]
        while self.used() > self.room:
            self.evict()

    def remove(self, key):
        if self.hand == key:
            self.hand = self.after(key)
        super().remove(key)

    def after(self, key):
        keys = [row[0] for row in self.rows]
        place = keys.index(key) + 1
        return keys[place] if place < len(keys) else None

    def evict(self):
        hand = self.hand or self.rows[0][0]
        while self.find(hand)[3]:
            self.find(hand)[3] = 0
            hand = self.after(hand) or self.rows[0][0]
        self.hand = hand
        self.remove(hand)


class S3FifoModel(Model):
    """SOSP 2023, section 4.1, on a list of [key, value, bytes, uses, whether it is main]."""

    def __init__(self, room):
        super().__init__(room)
        self.ghosts = []

    def touch(self, row):
        row[3] = min(row[3] + 1, 3)

    def put(self, key, value, bytes_):
        row = self.find(key) or [key, value, bytes_, 0, False]
        self.remove(key)
        if bytes_ > self.room:
            return
        while self.used() + bytes_ > self.room:
            self.evict()
        main = row[4] or key in self.ghosts
        self.ghosts = [ghost for ghost in self.ghosts if ghost != key or not main]
        self.rows.append([key, value, bytes_, row[3], main])

    def evict(self):
        small = [row for row in self.rows if not row[4]]
        main = [row for row in self.rows if row[4]]
        if small and (sum(row[2] for row in small) > int(self.room * 0.1) or not main):
            oldest = small[0]
            self.rows.remove(oldest)
            if oldest[3] > 1:
                self.rows.append([*oldest[:3], 0, True])
            else:
                self.ghosts = [g for g in self.ghosts if g != oldest[0]] + [oldest[0]]
                self.ghosts = self.ghosts[-max(len(main), 1) :]
            return
        self.rows.remove(main[0])
        if main[0][3]:
            main[0][3] -= 1
            self.rows.append(main[0])
            self.evict()


@pytest.mark.parametrize(
    ("way", "model"),
    [(S3Fifo, S3FifoModel), (Sieve, SieveModel), (Lru, LruModel), (Lfu, LfuModel)],
)
def test_it_answers_as_its_model_does(way, model):
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = Random(seed)
    for _ in range(20):
        room = chance.randint(5, 40)
        ours, plain = way(room), model(room)
        for step in range(400):
            key = f"k{chance.randint(0, 20)}"
            match chance.randint(0, 9):
                case 0:
                    ours.remove(key)
                    plain.remove(key)
                case 1 | 2 | 3 | 4:
                    bytes_ = chance.randint(1, room // 3 + 1) if chance.random() < 0.9 else room + 1
                    ours.put(key, step, bytes_)
                    plain.put(key, step, bytes_)
                case _:
                    assert ours.get(key) == plain.get(key), f"seed {seed}"
            assert (ours.bytes_used, len(ours)) == (plain.used(), len(plain.rows)), f"seed {seed}"


@pytest.mark.parametrize("way", WAYS)
def test_it_never_holds_more_than_it_may_and_answers_with_what_was_put_last(way):
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = Random(seed)
    ours, last = way(1000), {}
    for step in range(5000):
        key = f"k{chance.randint(0, 99)}"
        if chance.random() < 0.5:
            bytes_ = chance.randint(1, 120)
            ours.put(key, step, bytes_)
            last[key] = (step, bytes_)
        elif chance.random() < 0.1:
            ours.remove(key)
            last.pop(key, None)
        else:
            assert ours.get(key) in (None, last.get(key, (None,))[0]), f"seed {seed}"
        assert 0 <= ours.bytes_used <= 1000
    held = [key for key in last if ours.get(key) is not None]
    assert ours.bytes_used == sum(last[key][1] for key in held)
    for key in held:
        ours.remove(key)
    assert (ours.bytes_used, len(ours)) == (0, 0)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_larger_than_all_room_is_not_kept_and_takes_nothing_with_it(way):
    ours = way(100)
    ours.put("a", 1, 40)
    ours.put("b", 2, 100)
    assert ours.get("b") == 2
    ours.put("c", 3, 101)
    assert ours.get("c") is None
    assert ours.get("b") == 2
    ours.put("b", 4, 101)
    assert ours.get("b") is None, "the old value would be wrong"


def test_s3fifo_takes_a_ghost_into_the_main_queue():
    """SOSP 2023, section 4.1: 'If the object is in the ghost queue, it is inserted to M'."""
    ours = S3Fifo(10)
    for n in range(10):
        ours.put(f"m{n}", n, 1)
        ours.get(f"m{n}")
        ours.get(f"m{n}")
    for n in range(5):
        ours.put(f"once{n}", n, 1)  # those used twice move on; then the first of these goes
    ours.put("once0", 0, 1)
    for n in range(100, 120):
        ours.put(f"scan{n}", n, 1)
    assert ours.get("once0") == 0


def misses(cache, trace):
    count = 0
    for key in map(str, trace):
        if cache.get(key) is None:
            count += 1
            cache.put(key, key, 1)
    return count / len(trace)


@pytest.mark.box("cache.eviction")
def test_s3fifo_misses_a_tenth_less_than_lru_on_zipf_and_scans_and_no_more_when_keys_shift():
    chance = Random(7)
    made = {
        "zipf 0.8": (traces.zipf(chance, keys=5_000, length=40_000, skew=0.8), 0.9),
        "zipf 1.0": (traces.zipf(chance, keys=5_000, length=40_000, skew=1.0), 0.9),
        "scan": (traces.scan(chance, keys=5_000, length=40_000, scan_keys=2_000), 0.9),
        "shifting": (traces.shifting(chance, keys=5_000, length=40_000, step=20), 1.03),
    }
    for name, (trace, most) in made.items():
        ratio = misses(S3Fifo(500), trace) / misses(Lru(500), trace)
        assert ratio < most, f"{name}: {ratio:.3f}"


def test_a_loop_over_more_than_fits_defeats_lru_and_what_fits_is_never_missed_again():
    looped = traces.loop(keys=110, length=5_000)
    assert misses(Lru(100), looped) == 1
    for way in WAYS:
        assert misses(way(110), looped) == 110 / 5_000


def test_s3fifo_forgets_what_was_popular_where_lfu_does_not_and_sooner_than_sieve():
    trace = traces.shifting(Random(7), keys=5_000, length=40_000, step=50)
    assert misses(S3Fifo(500), trace) < 0.6 * misses(Lfu(500), trace)
    assert misses(S3Fifo(500), trace) < 0.95 * misses(Sieve(500), trace)
