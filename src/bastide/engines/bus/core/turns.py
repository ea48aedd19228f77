"""How long an event that fails waits for its next try."""

RETRY_MAX_S = 2.0


def wait_s(tries: int, first_s: float) -> float:
    """After `tries` of them, before the next: twice as long each time, up to RETRY_MAX_S."""
    return float(min(first_s * 2 ** (tries - 1), RETRY_MAX_S))
