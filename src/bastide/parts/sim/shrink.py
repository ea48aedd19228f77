"""A failing run made as plain as it can be, without knowing what its choices mean.

    [3 0 1 | 1 4 0 2 | 0]     a tape, with its spans (what an item drew)
    leave out a tape, a span, a few choices; lower what is left; does it still fail? keep it

A candidate is better if its tapes are shorter, or as short and lower. So the end is reached: no
single step makes it plainer, or `tries_max` runs were made. What a candidate draws beyond its tape
is zero, and what it does not draw is cut off: the run itself says what its tapes are.

Noise is not shrunk; but as a shorter run meets other noise, one from which something was left out
is tried with the noise that failed and, if it passes, with NOISES others.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from bastide.parts.sim.draws import Recording

NOISES = 2
TRIES_MAX = 2_000

Spans = Mapping[str, Sequence[tuple[int, int]]]
Found = tuple[Recording, Spans]


def shrink(
    recording: Recording,
    spans: Spans,
    fails: Callable[[Recording], Found | None],
    *,
    tries_max: int = TRIES_MAX,
) -> Recording:
    """The plainest recording that was found. `fails` runs one, and returns what it drew and its
    spans if it fails in the same way, else None.
    """
    search = _Search(recording, spans, fails, tries_max)
    while search.tries < tries_max and search.round():
        pass
    return search.best


class _Search:
    def __init__(
        self,
        recording: Recording,
        spans: Spans,
        fails: Callable[[Recording], Found | None],
        tries_max: int,
    ) -> None:
        self.best = recording
        self.tries = 0
        self._spans = spans
        self._fails = fails
        self._tries_max = tries_max

    def round(self) -> bool:
        """Every kind of step once, in every place; whether one of them helped."""
        before = _weight(self.best)
        for name in tuple(self._tapes()):
            self._put(name, [])
        self._leave_out_spans()
        for name in tuple(self._tapes()):
            for size in (8, 4, 2, 1):
                self._leave_out(name, size)
        for name in tuple(self._tapes()):
            self._lower(name)
        return _weight(self.best) < before

    def _tapes(self) -> Mapping[str, Sequence[int]]:
        return self.best.tapes or {}

    def _leave_out_spans(self) -> None:
        """The longest first. After one that helped the next in length has its place."""
        rank = 0
        while self.tries < self._tries_max:
            spans = sorted(
                (
                    (end - begin, name, begin)
                    for name, all_ in self._spans.items()
                    for begin, end in all_
                ),
                reverse=True,
            )
            if rank >= len(spans):
                return
            size, name, begin = spans[rank]
            choices = self._tapes().get(name, ())
            if not self._put(name, [*choices[:begin], *choices[begin + size :]]):
                rank += 1

    def _leave_out(self, name: str, size: int) -> None:
        """So many at a time, from the end on."""
        end = len(self._tapes().get(name, ()))
        while end > 0 and self.tries < self._tries_max:
            choices = self._tapes().get(name, ())
            begin = max(0, end - size)
            self._put(name, [*choices[:begin], *choices[end:]])
            end = begin

    def _lower(self, name: str) -> None:
        place = 0
        while place < len(self._tapes().get(name, ())):
            step = self._tapes()[name][place]  # to zero at once, then by halves
            while step and self.tries < self._tries_max:
                choices = list(self._tapes().get(name, ()))
                if place >= len(choices):
                    return
                choices[place] -= step
                if choices[place] < 0 or not self._put(name, choices, noises=0):
                    step //= 2
            place += 1

    def _put(self, name: str, choices: list[int], *, noises: int = NOISES) -> bool:
        """Whether the run with this tape is better, in which case it is the best."""
        tapes = {**self._tapes(), name: choices}
        for noise in range(self.best.noise, self.best.noise + noises + 1):
            if self.tries >= self._tries_max:
                return False
            candidate = msgspec.structs.replace(self.best, tapes=tapes, noise=noise)
            if _weight(candidate) >= _weight(self.best):
                return False
            self.tries += 1
            found = self._fails(candidate)
            if found is not None and _weight(found[0]) < _weight(self.best):
                self.best, self._spans = found
                return True
        return False


def _weight(recording: Recording) -> tuple[int, int]:
    """What counts is what was chosen: zeros at the end are what nobody gave."""
    tapes = [_trimmed(choices) for choices in (recording.tapes or {}).values()]
    return sum(map(len, tapes)), sum(map(sum, tapes))


def _trimmed(choices: Sequence[int]) -> Sequence[int]:
    end = len(choices)
    while end and not choices[end - 1]:
        end -= 1
    return choices[:end]
