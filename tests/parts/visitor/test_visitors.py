"""A whole visitor of a request; nothing is loaded before it is opened; no header raises."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.parts.visitor import visitors as module
from bastide.parts.visitor.bench import bench_visitor
from bastide.parts.visitor.contract import Client, Visitor
from bastide.parts.visitor.core import COUNTRIES
from bastide.parts.visitor.visitors import REMEMBERED, open_visitors

README = Path(module.__file__).with_name("README.md")
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"
)
OWN = {"sho.rt"}


def test_a_visitor_is_what_the_request_tells(visitors):
    headers = {
        "user-agent": IPHONE,
        "accept-language": "en;q=0.5,de-CH",
        "referer": "https://www.example.com/page",
    }
    found = visitors.visitor(headers, method="GET", address="130.59.31.80", own_hosts=OWN)
    client = Client("mobile", "ios", "safari", bot=False)
    assert found == Visitor(client, "CH", ("de-ch", "en"), "example.com")


def test_who_tells_nothing_is_a_visitor_too(visitors):
    found = visitors.visitor({}, method="GET", address="", own_hosts=OWN)
    assert found == Visitor(Client("other", "other", "other", bot=False), "", (), "")


anything = st.text(max_size=2_000) | st.binary(max_size=600).map(lambda b: b.decode("latin-1"))
broken = st.text(alphabet='*,;=q.01-deEN/:@[]()\\" \t\x00\ud800', max_size=1_500)
headers = st.dictionaries(
    st.sampled_from(["user-agent", "accept-language", "referer", "host"]), anything | broken
)


@pytest.mark.box("visitor.broken")
@given(headers, st.sampled_from(["GET", "HEAD", "", "\x00"]), anything | st.ip_addresses().map(str))
def test_no_header_however_broken_raises(headers, method, address):
    found = open_visitors().visitor(headers, method=method, address=address, own_hosts=OWN)
    assert found.country in COUNTRIES | {""}
    assert all(re.fullmatch(r"[a-z]{1,8}(-[a-z0-9]{1,8})*", tag) for tag in found.languages)
    assert re.fullmatch(r"[a-z0-9._:\[\]-]{0,100}", found.referrer)
    assert found.client.bot or method != "HEAD"


@pytest.mark.box("visitor.broken")
@pytest.mark.parametrize("piece", ["a", "Mozilla/5.0 (", "Android ", "/1.", "(((", "é", "\ud800"])
def test_a_header_of_a_megabyte_is_cut_before_it_is_kept(piece, visitors):
    """Trap: what is remembered by its text fills the memory by a few long texts."""
    long = piece * (1_000_000 // len(piece))
    names = ("user-agent", "accept-language", "referer")
    found = visitors.visitor(dict.fromkeys(names, long), method="GET", address=long, own_hosts=OWN)
    assert (found.country, found.referrer) == ("", "")


@pytest.mark.limit("visitor.REMEMBERED")
def test_so_many_strings_are_remembered_and_the_oldest_is_forgotten():
    visitors = module.Visitors(module.Reader(), module.bundled())
    remembered = [visitors.client_of(f"Firefox/{n}.0") for n in range(REMEMBERED)]
    assert visitors.client_of("Firefox/0.0") is remembered[0]
    visitors.client_of("Firefox/new")
    assert visitors.client_of("Firefox/0.0") is remembered[0]
    assert visitors.client_of("Firefox/1.0") is not remembered[1]
    assert visitors.client_of("Firefox/1.0") == remembered[1]


def test_it_is_opened_once(visitors):
    assert open_visitors() is visitors


def test_nothing_is_loaded_before_it_is_opened():
    """Trap: 0.1 s of every command's start, for commands that see no visitor."""
    program = "import sys, bastide.parts.visitor.visitors; print('ua_parser' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stdout == "False\n", ended.stderr


def test_the_bench_measures_each_way():
    figures = bench_visitor(0)
    assert {"reader_ms", "countries_ms", "hot_us", "unseen_us"} < figures.keys()
    assert all(figure > 0 for figure in figures.values())
    assert figures["hot_us"] < figures["unseen_us"]


def test_the_readmes_example_runs():
    [first, *_] = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(first, README.name, "exec"), names)
    assert isinstance(names["visitor"], Visitor)
