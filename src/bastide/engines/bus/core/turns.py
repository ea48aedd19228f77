"""How much is done at once, and how long what fails waits for its next try.

A batch holds the loop for as long as it takes, so batches are small. But under load every turn of
the loop is dear, and a batch costs several, however small it is: who falls behind takes more at a
time, up to what a handler may be given, and less again when little comes.
"""

from bastide.engines.bus.contract import BATCH_EVENTS_MAX

BATCH_EVENTS_MIN = 250  # some 2 ms
RETRY_MAX_S = 2.0


def next_batch(asked: int, came: int) -> int:
    """How many to ask for, when `came` have come of `asked`: twice as many if there were so many,
    else half.
    """
    if came >= asked:
        return min(2 * asked, BATCH_EVENTS_MAX)
    return max(asked // 2, BATCH_EVENTS_MIN)


def wait_s(tries: int, first_s: float) -> float:
    """After `tries` of them, before the next: twice as long each time, up to RETRY_MAX_S."""
    return float(min(first_s * 2 ** (tries - 1), RETRY_MAX_S))
