"""What is known of each origin that was asked: its breaker, addresses and budget of retries."""

from collections import OrderedDict

from bastide.base.rt import runtime
from bastide.parts.http.client.addresses import Address, Origin, addresses_of
from bastide.parts.http.client.contract import CircuitOpen, ClientOptions
from bastide.parts.http.client.patience import Patience
from bastide.parts.http.core.breaker import Breaker
from bastide.parts.http.core.outliers import Outliers
from bastide.parts.http.core.retries import RetryBudget

ORIGINS_MAX = 10_000  # a crawler meets more: those that were asked longest ago are forgotten


class Standing:
    """Of one origin."""

    def __init__(self, origin: Origin, options: ClientOptions) -> None:
        self.origin = origin
        self.addresses = addresses_of(origin, options)
        self.breaker = Breaker(options.breaker)
        self.outliers = Outliers(len(self.addresses), options.outliers)
        self.budget = RetryBudget(options.retries)
        self.in_flight = 0


class Standings:
    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._of: OrderedDict[str, Standing] = OrderedDict()

    def of(self, origin: Origin) -> Standing:
        found = self._of.get(origin.name)
        if found is None:
            found = self._of[origin.name] = Standing(origin, self._options)
            self._forget_one()
        self._of.move_to_end(origin.name)
        return found

    def _forget_one(self) -> None:
        oldest = next(iter(self._of))
        if len(self._of) > ORIGINS_MAX and not self._of[oldest].in_flight:
            del self._of[oldest]


class Attempt:
    """One call to an origin, from the breaker's leave until it is over. What it showed is told
    once, by `succeeded` or `failed`; if it showed nothing, `over` tells that.
    """

    def __init__(self, standing: Standing, patience: Patience) -> None:
        """
        Raises:
            CircuitOpen
        """
        now_s = runtime.monotonic()
        self._standing = standing
        self._place: int | None = None
        self._is_told = False
        ticket = standing.breaker.admit(now_s)
        if ticket is None:
            retry_after_s = standing.breaker.retry_after_s(now_s)
            told = f"calls to {standing.origin.name} fail: none for {retry_after_s:.3g} s"
            raise CircuitOpen(told, retry_after_s=retry_after_s, outcome=patience.outcome)
        self._ticket = ticket
        standing.in_flight += 1

    def choose(self) -> Address:
        self._place = self._standing.outliers.pick(runtime.monotonic())
        return self._standing.addresses[self._place]

    def succeeded(self) -> None:
        self._is_told, now_s = True, runtime.monotonic()
        self._standing.breaker.succeeded(self._ticket, now_s)
        if self._place is not None:
            self._standing.outliers.succeeded(self._place, now_s)

    def failed(self) -> None:
        self._is_told, now_s = True, runtime.monotonic()
        self._standing.breaker.failed(self._ticket, now_s)
        if self._place is not None:
            self._standing.outliers.failed(self._place, now_s)

    def over(self) -> None:
        self._standing.in_flight -= 1
        if not self._is_told:
            self._standing.breaker.dropped(self._ticket)
        if self._place is not None:
            self._standing.outliers.left(self._place)
