"""When to ask again, and when to stop: back-off, what Retry-After says, and a budget.

Idea of the budget: a retry helps if failures are rare and harms if they are not, since three
attempts each make three times the load out of an outage. So retries are paid for: each request
earns `share` of one, each retry costs one, and no more than `reserve` can be saved.

    tokens  reserve ─┐      ┌───────
                     └┐  ┌──┘            however the outcomes fall:
                      └──┘               retries <= reserve + share * requests

Source: Finagle's RetryBudget; here the saving is capped by a count and not by time, so that no
clock is needed.
"""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from bastide.parts.http.core.dates import epoch_of

Seconds = Annotated[float, Meta(ge=0)]


class RetryRules(Struct, frozen=True, kw_only=True):
    """`attempts` in all, the first included; `statuses` that are worth another one."""

    attempts: Annotated[int, Meta(ge=1)] = 3
    statuses: Sequence[int] = ()
    backoff_first_s: Seconds = 0.05
    backoff_max_s: Seconds = 2.0
    retry_after_max_s: Seconds = 10.0
    share: Annotated[float, Meta(ge=0, le=1)] = 0.2
    reserve: Annotated[float, Meta(ge=0)] = 10.0


class RetryBudget:
    """Of one origin."""

    def __init__(self, rules: RetryRules) -> None:
        self._rules = rules
        self._tokens = rules.reserve

    def earn(self) -> None:
        """A request begins."""
        self._tokens = min(self._tokens + self._rules.share, self._rules.reserve)

    def spend(self) -> bool:
        """One retry, if it can be paid for."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def backoff_s(rules: RetryRules, attempt: int) -> float:
    """The longest pause after `attempt` (1 is the first): twice the last, up to a limit."""
    return min(rules.backoff_first_s * 2.0 ** min(attempt - 1, 60), rules.backoff_max_s)


def retry_after_s(value: bytes | None, now_ms: int) -> float:
    """What a Retry-After header asks for, in seconds from now (RFC 9110, 10.2.3); 0 if nothing that
    can be read.
    """
    text = (value or b"").decode("latin-1").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:12])
    due_s = epoch_of(text, now_s=now_ms // 1000)
    return max(0.0, due_s - now_ms / 1000) if due_s is not None else 0.0
