"""Where a URL leads."""

import pytest

from bastide.base.errors import Invalid
from bastide.base.settings import parse_url
from bastide.parts.redis.contract import Address, LocationWrong, RedisOptions
from bastide.parts.redis.core import addresses


@pytest.mark.parametrize(
    ("location", "found"),
    [
        ("", [Address("127.0.0.1", 6379)]),
        ("one", [Address("one", 6379)]),
        ("one:7000/3", [Address("one", 7000, database=3)]),
        ("[::1]:7000", [Address("::1", 7000)]),
        (":p%40ss@one", [Address("one", 6379, password="p@ss")]),
        ("ann:p,a/ss@one/", [Address("one", 6379, user="ann", password="p,a/ss")]),
        (
            "ann:hush@one,two:7000/1",
            [Address("one", 6379, "ann", "hush", 1), Address("two", 7000, "ann", "hush", 1)],
        ),
    ],
)
def test_a_location_names_servers_that_share_a_login_and_a_database(location, found):
    assert addresses(location) == found


@pytest.mark.parametrize(
    "location", ["one:port", "one/first", "one,one:6379", "one,", "one:70000", "one/-1", ":6379"]
)
def test_a_location_that_can_not_be_read_is_refused(location):
    with pytest.raises(LocationWrong) as caught:
        addresses(f"ann:hush@{location}")
    assert "hush" not in str(caught.value)


def test_an_address_is_named_without_its_secrets():
    assert Address("one", 6379, "ann", "hush", 2).name == "one:6379/2"


@pytest.mark.parametrize("query", ["timeout_s=0", "timeout_s=61", "connect_s=x", "retries=3"])
def test_an_option_that_is_unknown_or_beyond_its_bounds_is_refused(query):
    with pytest.raises(Invalid):
        parse_url(f"redis://one?{query}").options(RedisOptions)
