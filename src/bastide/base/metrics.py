"""Counts and times, kept where things happen and read by `/metrics` and the console.

A registry belongs to a runtime. Labels name systems, verbs, clients and outcomes: a label is never
a key, a user or a path, so that the number of series is known when the town is open.

`counted` wraps a contract for one client: every call is counted, awaited ones are timed,
synchronous verbs are timed one in 64, since reading the clock twice would cost more than minting an
id.
"""

import inspect
from bisect import bisect_left
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar, cast

import msgspec

T = TypeVar("T")

BUCKETS_S = (
    *(0.000_001, 0.000_002_5, 0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5),
    *(0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
SAMPLE_ONE_IN = 64  # a power of two, so that the test is a mask
SERIES_MAX = 20_000  # a runaway label is a bug, and stops here

Labels = tuple[tuple[str, str], ...]


class Counter:
    """Only rises. `value` is read by anyone; `add` is for the owner."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def add(self, amount: float = 1) -> None:
        self.value += amount


class Gauge:
    __slots__ = ("read",)

    def __init__(self, read: Callable[[], float]) -> None:
        self.read = read


class Histogram:
    """Seconds, in buckets of three a decade. `quantile` is right to the bucket it falls in."""

    __slots__ = ("buckets", "count", "total_s")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BUCKETS_S) + 1)
        self.count = 0
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        self.buckets[bisect_left(BUCKETS_S, seconds)] += 1
        self.count += 1
        self.total_s += seconds

    def quantile(self, share: float) -> float:
        """An upper bound of the `share` quantile in seconds; 0 if nothing was observed."""
        wanted, seen = share * self.count, 0
        for bucket, count in enumerate(self.buckets):
            seen += count
            if count and seen >= wanted:
                return BUCKETS_S[min(bucket, len(BUCKETS_S) - 1)]
        return 0.0


class Family(msgspec.Struct, frozen=True):
    """One metric: its name, what it means, and its series by labels."""

    name: str
    kind: str
    meaning: str
    series: dict[Labels, Counter | Gauge | Histogram]


class Registry:
    """All metrics of one node."""

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}
        self._series = 0

    def counter(self, name: str, meaning: str, **labels: str) -> Counter:
        return cast(Counter, self._one(name, "counter", meaning, labels, Counter))

    def histogram(self, name: str, meaning: str, **labels: str) -> Histogram:
        return cast(Histogram, self._one(name, "histogram", meaning, labels, Histogram))

    def gauge(self, name: str, meaning: str, read: Callable[[], float], **labels: str) -> None:
        """`read` is called when somebody looks; the newest one for these labels counts."""
        self._one(name, "gauge", meaning, labels, lambda: Gauge(read))
        self._families[name].series[_labels(labels)] = Gauge(read)

    def families(self) -> Sequence[Family]:
        return [self._families[name] for name in sorted(self._families)]

    def _one(
        self,
        name: str,
        kind: str,
        meaning: str,
        labels: Mapping[str, str],
        make: Callable[[], Counter | Gauge | Histogram],
    ) -> Counter | Gauge | Histogram:
        family = self._families.setdefault(name, Family(name, kind, meaning, {}))
        assert family.kind == kind, f"{name} is a {family.kind}"
        found = family.series.get(_labels(labels))
        if found is None:
            self._series += 1
            assert self._series <= SERIES_MAX, f"{name} {labels}: over {SERIES_MAX} series"
            found = family.series[_labels(labels)] = make()
        return found


def exposition(registry: Registry) -> str:
    """The registry in the text format that Prometheus reads (version 0.0.4)."""
    lines = []
    for family in registry.families():
        lines += [
            f"# HELP {family.name} {family.meaning}",
            f"# TYPE {family.name} {family.kind}",
        ]
        for labels, series in list(family.series.items()):
            lines += _lines(family.name, labels, series)
    return "\n".join(lines) + "\n"


def _lines(name: str, labels: Labels, series: Counter | Gauge | Histogram) -> Iterator[str]:
    match series:
        case Counter():
            yield f"{name}{_shown(labels)} {series.value}"
        case Gauge():
            yield f"{name}{_shown(labels)} {series.read()}"
        case Histogram():
            seen = 0
            for bound, count in zip((*BUCKETS_S, "+Inf"), series.buckets, strict=True):
                seen += count
                yield f"{name}_bucket{_shown((*labels, ('le', str(bound))))} {seen}"
            yield f"{name}_sum{_shown(labels)} {series.total_s}"
            yield f"{name}_count{_shown(labels)} {series.count}"


def _labels(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


def _shown(labels: Labels) -> str:
    escaped = (f'{name}="{_escaped(value)}"' for name, value in labels)
    return "{" + ",".join(escaped) + "}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class Calls:
    """The calls of one client to one verb: how many, how they ended, how long they took."""

    __slots__ = ("_outcomes", "made", "times")

    def __init__(self, made: Counter, times: Histogram, outcomes: Callable[[str], Counter]) -> None:
        self.made = made
        self.times = times
        self._outcomes = outcomes

    def failed(self, error: BaseException) -> None:
        self._outcomes(type(error).__name__).add()


CALLS = "bastide_calls_total"
CALLS_FAILED = "bastide_calls_failed_total"
CALL_SECONDS = "bastide_call_seconds"


def counted(
    contract: type[T],
    inner: T,
    *,
    system: str,
    client: str,
    registry: Registry,
    monotonic: Callable[[], float],
) -> T:
    """`inner`, with every public verb of `contract` counted as a call of `client`.

    The wrapper's attributes are closures, so that a call costs one more frame and no look-up.
    """
    wrapper = _Counted()
    for verb in verbs(contract):
        calls = _calls_of(registry, system=system, verb=verb, client=client)
        setattr(wrapper, verb, _wrapped(getattr(inner, verb), calls, monotonic))
    return cast(T, wrapper)


def verbs(contract: type) -> Sequence[str]:
    """The public methods that `contract` declares, also in the contracts it extends."""
    names = {n for c in contract.__mro__ if c is not object for n in vars(c)}
    return sorted(n for n in names if not n.startswith("_") and callable(getattr(contract, n)))


class _Counted:
    """What `use` hands out. Its attributes are set one by one in `counted`."""


def _calls_of(registry: Registry, *, system: str, verb: str, client: str) -> Calls:
    labels = {"system": system, "verb": verb, "client": client}

    def outcomes(outcome: str) -> Counter:
        return registry.counter(
            CALLS_FAILED,
            "Calls between systems that ended in an error.",
            outcome=outcome,
            **labels,
        )

    return Calls(
        registry.counter(CALLS, "Calls between systems, counted where made.", **labels),
        registry.histogram(CALL_SECONDS, "Time of a call between systems.", **labels),
        outcomes,
    )


def _wrapped(
    verb: Callable[..., Any], calls: Calls, monotonic: Callable[[], float]
) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(verb):
        return _counted_iterator(verb, calls, monotonic)
    if inspect.iscoroutinefunction(verb):
        return _counted_coroutine(verb, calls, monotonic)
    return _counted_function(verb, calls, monotonic)


def _counted_function(
    verb: Callable[..., Any], calls: Calls, monotonic: Callable[[], float]
) -> Callable[..., Any]:
    made, times = calls.made, calls.times

    def call(*args: Any, **kwargs: Any) -> Any:
        made.value = count = made.value + 1
        try:
            if count % SAMPLE_ONE_IN:
                return verb(*args, **kwargs)
            start = monotonic()
            result = verb(*args, **kwargs)
            times.observe(monotonic() - start)
            return result
        except BaseException as error:
            calls.failed(error)
            raise

    return call


def _counted_coroutine(
    verb: Callable[..., Any], calls: Calls, monotonic: Callable[[], float]
) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        calls.made.add()
        start = monotonic()
        try:
            return await verb(*args, **kwargs)
        except BaseException as error:
            calls.failed(error)
            raise
        finally:
            calls.times.observe(monotonic() - start)

    return call


def _counted_iterator(
    verb: Callable[..., AsyncGenerator[Any]], calls: Calls, monotonic: Callable[[], float]
) -> Callable[..., AsyncIterator[Any]]:
    async def call(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        calls.made.add()
        start = monotonic()
        try:
            async with aclosing(verb(*args, **kwargs)) as items:
                async for item in items:
                    yield item
        except GeneratorExit:
            raise
        except BaseException as error:
            calls.failed(error)
            raise
        finally:
            calls.times.observe(monotonic() - start)

    return call
