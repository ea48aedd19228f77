"""Every choice of a simulation, from one seed: what shrinks is on tapes, the rest is noise.

    Draws(seed) --+-- tape("clients")   [3, 0, 1, 1, ...]   recorded, replayed, shrunk
                  +-- tape("nemesis")   [1, 4, 0, ...]
                  +-- noise("link a>b") a generator of its own, never recorded

A choice that matters (what is asked, which fault comes when) is an integer on a named tape. Zero
is the plainest choice: no, the first, the lowest. So a tape can be made simpler without knowing
what it means: leave out, lower, see whether the run still fails. Each source of choices has its own
tape, as two that take turns on one would get each other's numbers as soon as one is left out.

Millions of small choices (a delay, whose turn it is) come from noise: a seeded generator for each
purpose, so that what happens on one link changes nothing on another.

A choice on a tape costs about 1 us. The idea of shrinking the choices instead of the values is that
of Hypothesis; the named tapes beside each other are ours.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from typing import TypeVar

import msgspec

from bastide.base.rt.runtime import Chance, Dice

T = TypeVar("T")
Told = Callable[[str], None]

FINE = 1_000  # steps of a drawn real number


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """What makes a run happen again; as JSON, the file that `--tape` names. Without `tapes` the
    seed makes them.
    """

    simulation: str
    seed: int
    noise: int
    tapes: Mapping[str, Sequence[int]] | None = None


class Tape:
    """One source's choices, in order. `what` names a choice in the trace; it decides nothing."""

    def __init__(self, random: Dice, given: Sequence[int] | None, tell: Told | None) -> None:
        self._random = random
        self._given = given
        self._tell = tell
        self.choices: list[int] = []
        self.spans: list[tuple[int, int]] = []
        self._item_began: int | None = None

    def integer(self, what: str, low: int, high: int) -> int:
        """From `low` to `high`, both among them; simplest is `low`."""
        assert low <= high, f"{what}: from {low} to {high}"
        chosen = low + self._draw(high - low)
        if self._tell is not None:
            self._tell(f"{what}: {chosen} of {low} to {high}")
        return chosen

    def real(self, what: str, low: float, high: float) -> float:
        """Simplest is `low`."""
        return low + (high - low) * self.integer(what, 0, FINE) / FINE

    def chance(self, what: str, probability: float) -> bool:
        """Simplest is False."""
        if self._given is not None:
            chosen = bool(self._draw(1))
        else:
            chosen = self._random.random() < probability
            self.choices.append(int(chosen))
        if self._tell is not None:
            self._tell(f"{what}: {'yes' if chosen else 'no'}")
        return chosen

    def pick(self, what: str, options: Sequence[T]) -> T:
        """Simplest is the first."""
        return options[self.integer(what, 0, len(options) - 1)]

    def more(self, what: str, average: float) -> bool:
        """Whether another item comes: `while tape.more("operation", 20): ...`. All that is drawn
        until the next call belongs to the item, and is left out with it.
        """
        if self._item_began is not None:
            self.spans.append((self._item_began, len(self.choices)))
        began = len(self.choices)
        comes = self.chance(what, average / (average + 1))
        self._item_began = began if comes else None
        return comes

    @contextmanager
    def span(self) -> Iterator[None]:
        """What is drawn within belongs together, and is left out together."""
        began = len(self.choices)
        try:
            yield
        finally:
            self.spans.append((began, len(self.choices)))

    def _draw(self, most: int) -> int:
        if self._given is None:
            chosen = int(self._random.random() * (most + 1)) if most else 0
        else:
            place = len(self.choices)
            chosen = min(self._given[place], most) if place < len(self._given) else 0
        self.choices.append(chosen)
        return chosen


class Draws:
    """All choices of one run. `seed` makes the tapes, `noise_seed` the noise; `tapes` are given
    instead of made when a run is replayed, and one that is not among them is all zeros.
    """

    def __init__(
        self,
        seed: int,
        *,
        noise_seed: int | None = None,
        tapes: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self.tell: Callable[[str, str], None] | None = None  # of each choice: which tape, what
        self.seed = seed
        self.noise_seed = seed if noise_seed is None else noise_seed
        self._given = tapes
        self.tapes: dict[str, Tape] = {}

    def tape(self, name: str) -> Tape:
        """The same one for the same name. A new name has its own choices from the seed."""
        if name not in self.tapes:
            given = None if self._given is None else self._given.get(name, ())
            tell = None if self.tell is None else partial(self.tell, name)
            self.tapes[name] = Tape(_seeded(f"{self.seed}/tape/{name}"), given, tell)
        return self.tapes[name]

    def noise(self, name: str) -> Dice:
        """A new generator, the same for the same name and seed."""
        return _seeded(f"{self.noise_seed}/noise/{name}")

    def recording(self, simulation: str) -> Recording:
        """What was drawn so far."""
        tapes = {name: list(tape.choices) for name, tape in self.tapes.items()}
        return Recording(simulation=simulation, seed=self.seed, noise=self.noise_seed, tapes=tapes)


def _seeded(text: str) -> Dice:
    return Chance(int.from_bytes(blake2b(text.encode(), digest_size=8).digest())).random
