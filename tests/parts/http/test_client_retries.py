"""When to ask again, as arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.parts.http.core.dates import http_date
from bastide.parts.http.core.retries import RetryBudget, RetryRules, backoff_s, retry_after_s

NOW_S = 1_800_000_000


@given(
    st.sampled_from([0, 0.1, 0.2, 1]),
    st.sampled_from([0, 0.5, 1, 10]),
    st.lists(st.sampled_from(["request", "retry"]), max_size=300),
)
def test_retries_are_at_most_a_share_of_the_requests_and_the_reserve(share, reserve, steps):
    budget = RetryBudget(RetryRules(share=share, reserve=reserve))
    requests = retries = 0
    for step in steps:
        if step == "request":
            budget.earn()
            requests += 1
        else:
            retries += budget.spend()
        assert retries <= share * requests + reserve + 1e-9


def test_a_reserve_allows_so_many_retries_and_not_one_more_and_requests_earn_them_again():
    budget = RetryBudget(RetryRules(share=0.25, reserve=2))
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    for _ in range(3):
        budget.earn()
        assert not budget.spend()
    budget.earn()
    assert budget.spend()


def test_no_more_than_the_reserve_is_saved():
    budget = RetryBudget(RetryRules(share=0.5, reserve=2))
    for _ in range(1_000):
        budget.earn()
    assert [budget.spend() for _ in range(3)] == [True, True, False]


def test_each_pause_is_twice_the_last_up_to_a_limit():
    rules = RetryRules(backoff_first_s=0.5, backoff_max_s=3)
    assert [backoff_s(rules, attempt) for attempt in (1, 2, 3, 4, 10_000)] == [0.5, 1, 2, 3, 3]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"120", 120),
        (b" 0 ", 0),
        (b"9" * 40, 999_999_999_999),
        (http_date(NOW_S + 90).encode(), 90),
        (http_date(NOW_S - 90).encode(), 0),
        (None, 0),
        (b"", 0),
        (b"-5", 0),
        (b"1.5", 0),
        (b"soon", 0),
        ("²".encode(), 0),
        (b"Fri, 32 Jan 2027 08:00:00 GMT", 0),
    ],
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    """RFC 9110, 10.2.3: Retry-After = HTTP-date / delay-seconds."""
    assert retry_after_s(value, NOW_S * 1000) == seconds


def test_a_date_is_counted_from_the_millisecond_that_it_is_now():
    assert retry_after_s(http_date(NOW_S + 2).encode(), NOW_S * 1000 + 500) == 1.5
