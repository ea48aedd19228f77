"""What the registry holds, by system: calls, requests, times, and their rates.

The counting itself is done where things happen (base.metrics). Here it is only read: by `look` at
every beat, for the rates, and by everything else when somebody opens a page.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from bastide.apps.console.contract import OUTSIDE, DoorCalls, EdgeCalls, Figure, VerbCalls
from bastide.apps.console.core.rates import Looks
from bastide.base.errors import Refusal
from bastide.base.html.shell import SYSTEM_OK, SYSTEM_PER_S
from bastide.base.metrics import (
    BUCKETS_S,
    CALL_SECONDS,
    CALLS,
    CALLS_FAILED,
    Counter,
    Gauge,
    Histogram,
    Labels,
    Registry,
)

LINE_LOOKS = 150  # five minutes of beats
RATE_LOOKS = 6  # ten seconds
HTTP_SECONDS = "bastide_http_seconds"
HTTP_REQUESTS = "bastide_http_requests_total"
EDGE, EDGE_FAILED = "edge", "edge failed"  # what is added up for the map, beside the metrics' names
FAULT_STATUS = 500
PROBE = "health"  # the beat's own question, passed on: counted by verb, but no traffic
WENT_AWAY = ("CancelledError", "GeneratorExit")
SHOWN_ELSEWHERE = {
    *(CALL_SECONDS, CALLS, CALLS_FAILED, HTTP_SECONDS, HTTP_REQUESTS, SYSTEM_OK, SYSTEM_PER_S)
}

Series = Counter | Gauge | Histogram
Key = tuple[str, ...]  # the metric, its system, and what else names the series


class Counts:
    def __init__(self, registry: Registry, systems: Collection[str]) -> None:
        self._registry = registry
        self._systems = systems
        self._totals: Looks[str] = Looks(LINE_LOOKS)
        self._series: Looks[Key] = Looks(RATE_LOOKS + 1)  # and the rates of the beat before
        self._faults: dict[str, bool] = {}
        self.beats = 0

    def look(self, now_s: float) -> None:
        """Take the totals of every series. O(series): about a microsecond each."""
        series: dict[Key, float] = {}
        totals = dict.fromkeys(self._systems, 0.0)
        for key, value in self._counts():
            series[key] = series.get(key, 0.0) + value
            if _is_probe(key):
                continue
            edge = _edge_of(key)
            series[edge] = series.get(edge, 0.0) + value
            if key[1] in totals:
                totals[key[1]] += value
        for edge, value in self._failures():
            series[edge] = series.get(edge, 0.0) + value
        self.beats += 1
        self._series.add(now_s, series)
        self._totals.add(now_s, totals)

    @property
    def span_s(self) -> float:
        """Seconds from the first point of a line to the last."""
        return self._totals.span_s

    def line(self, system: str) -> Sequence[float]:
        """Calls by others and requests at its doors, a second, look by look, oldest first."""
        return self._totals.line(system)

    def per_s(self, system: str) -> float:
        """The same, as the mean of the last ten seconds."""
        return self._totals.per_s(system, looks=RATE_LOOKS)

    def edge(self, client: str, system: str) -> EdgeCalls:
        """All calls of `system` by `client`; by OUTSIDE, the requests at its doors."""
        key, failed = (EDGE, client, system), (EDGE_FAILED, client, system)
        return EdgeCalls(
            client=client,
            system=system,
            per_s=self._series.per_s(key, looks=RATE_LOOKS),
            failed_per_s=self._series.per_s(failed, looks=RATE_LOOKS),
            per_s_before=self._series.per_s(key, looks=RATE_LOOKS, ago=1),
            failed_per_s_before=self._series.per_s(failed, looks=RATE_LOOKS, ago=1),
        )

    def calls_of(self, system: str) -> Sequence[VerbCalls]:
        """Others' calls of `system`, of each verb that it offers them."""
        return [self._verb(one, one["client"]) for one in self._labels(CALLS, system=system)]

    def calls_by(self, system: str) -> Sequence[VerbCalls]:
        """What `system` calls of others; `other` is who is called."""
        return [self._verb(one, one["system"]) for one in self._labels(CALLS, client=system)]

    def doors(self, system: str) -> Sequence[DoorCalls]:
        """Its doors that answered at least one request."""
        found = [self._door(one) for one in self._labels(HTTP_SECONDS, system=system)]
        return [door for door in found if door.requests]

    def call_times(self, system: str) -> Sequence[int]:
        """How many calls of `system` took how long, by BUCKETS_S."""
        return self._times(CALL_SECONDS, system)

    def request_times(self, system: str) -> Sequence[int]:
        """How many requests at the doors of `system` took how long, by BUCKETS_S."""
        return self._times(HTTP_SECONDS, system)

    def figures(self, system: str) -> Sequence[Figure]:
        """All that is measured of `system` beside calls and requests."""
        return [
            Figure(
                name=family.name,
                labels={k: v for k, v in labels if k != "system"},
                value=_value(series),
                meaning=family.meaning,
            )
            for family in self._registry.families()
            if family.name not in SHOWN_ELSEWHERE
            for labels, series in family.series.items()
            if ("system", system) in labels
        ]

    def _counts(self) -> Iterator[tuple[Key, float]]:
        for labels, series in self._family(CALLS).items():
            named = dict(labels)
            yield (CALLS, named["system"], named["verb"], named["client"]), _value(series)
        for labels, series in self._family(HTTP_REQUESTS).items():
            named = dict(labels)
            yield (HTTP_REQUESTS, named["system"], named["door"]), _value(series)

    def _failures(self) -> Iterator[tuple[Key, float]]:
        for labels, series in self._family(CALLS_FAILED).items():
            named = dict(labels)
            if named["verb"] != PROBE and self._is_fault(named["outcome"]):
                yield (EDGE_FAILED, named["client"], named["system"]), _value(series)
        for labels, series in self._family(HTTP_REQUESTS).items():
            named = dict(labels)
            if int(named["status"]) >= FAULT_STATUS:
                yield (EDGE_FAILED, OUTSIDE, named["system"]), _value(series)

    def _is_fault(self, outcome: str) -> bool:
        """Of an error's name; found out when it is first seen, and then the error exists."""
        if outcome not in self._faults:
            self._faults[outcome] = outcome not in WENT_AWAY and not _is_answer(outcome)
        return self._faults[outcome]

    def _verb(self, labels: Mapping[str, str], other: str) -> VerbCalls:
        key = (CALLS, labels["system"], labels["verb"], labels["client"])
        times = self._histogram(CALL_SECONDS, labels)
        return VerbCalls(
            other=other,
            verb=labels["verb"],
            calls=int(_value(self._family(CALLS)[tuple(sorted(labels.items()))])),
            per_s=self._series.per_s(key, looks=RATE_LOOKS),
            p50_s=times.quantile(0.5),
            p99_s=times.quantile(0.99),
            failures=self._by("outcome", CALLS_FAILED, labels),
        )

    def _door(self, labels: Mapping[str, str]) -> DoorCalls:
        key = (HTTP_REQUESTS, labels["system"], labels["door"])
        times = self._histogram(HTTP_SECONDS, labels)
        return DoorCalls(
            door=labels["door"],
            requests=times.count,
            per_s=self._series.per_s(key, looks=RATE_LOOKS),
            p50_s=times.quantile(0.5),
            p99_s=times.quantile(0.99),
            statuses=self._by("status", HTTP_REQUESTS, labels),
        )

    def _by(self, label: str, metric: str, wanted: Mapping[str, str]) -> Mapping[str, int]:
        """The counts of `metric` whose labels are `wanted` and one more, by that one."""
        return {
            named[label]: int(_value(series))
            for labels, series in sorted(self._family(metric).items())
            if (named := dict(labels)).items() >= wanted.items()
        }

    def _times(self, metric: str, system: str) -> Sequence[int]:
        total = [0] * (len(BUCKETS_S) + 1)
        for labels in self._labels(metric, system=system):
            buckets = self._histogram(metric, labels).buckets
            total = [a + b for a, b in zip(total, buckets, strict=True)]
        return total

    def _histogram(self, metric: str, labels: Mapping[str, str]) -> Histogram:
        found = self._family(metric)[tuple(sorted(labels.items()))]
        assert isinstance(found, Histogram)
        return found

    def _labels(self, metric: str, **wanted: str) -> Sequence[Mapping[str, str]]:
        """Of every series of `metric` that is of `wanted`."""
        found = (dict(labels) for labels in sorted(self._family(metric)))
        return [one for one in found if one.items() >= wanted.items()]

    def _family(self, metric: str) -> Mapping[Labels, Series]:
        return next((f.series for f in self._registry.families() if f.name == metric), {})


def _value(series: Series) -> float:
    match series:
        case Counter():
            return series.value
        case Gauge():
            return series.read()
        case Histogram():
            return float(series.count)


def _is_probe(key: Key) -> bool:
    return key[0] == CALLS and key[2] == PROBE


def _edge_of(key: Key) -> Key:
    """Who calls whom, of what `_counts` gives."""
    client = key[3] if key[0] == CALLS else OUTSIDE
    return (EDGE, client, key[1])


def _is_answer(outcome: str) -> bool:
    return any(kind.__name__ == outcome and kind.status < FAULT_STATUS for kind in _below(Refusal))


def _below(kind: type[Refusal]) -> Iterator[type[Refusal]]:
    for narrower in kind.__subclasses__():
        yield narrower
        yield from _below(narrower)
