"""User-Agents: a table of real ones, who is a bot, and what is not read."""

from pathlib import Path

import pytest

from bastide.parts.visitor.contract import USER_AGENT_CHARACTERS_MAX, Client
from bastide.parts.visitor.core import BOTS, is_bot

LINES = Path(__file__).with_name("agents.txt").read_text(encoding="utf-8").splitlines()
AGENTS = [line.split(" |", 1) for line in LINES if line and not line.startswith("#")]
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"
ANDROID = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.box("visitor.agents")
@pytest.mark.parametrize(("read", "agent"), AGENTS)
def test_a_real_user_agent_is_read_as_the_table_says(read, agent, visitors):
    device, system, browser, who = read.split()
    assert visitors.client_of(agent.strip()) == Client(device, system, browser, who == "bot")


def test_the_table_has_every_device_system_and_browser():
    read = [words.split() for words, _ in AGENTS]
    assert {words[0] for words in read} == {"desktop", "mobile", "tablet", "other"}
    systems = {"android", "chromeos", "ios", "linux", "macos", "windows", "other"}
    assert {words[1] for words in read} == systems
    browsers = {"chrome", "edge", "firefox", "opera", "safari", "samsung", "other"}
    assert {words[2] for words in read} == browsers


def test_an_ipad_in_desktop_mode_can_not_be_told_from_a_mac(visitors):
    """Trap: iPadOS 13 and later send what Safari on a Mac sends, letter by letter."""
    client = visitors.client_of(f"{MAC} Version/17.5 Safari/605.1.15")
    assert (client.device, client.system) == ("desktop", "macos")


@pytest.mark.box("visitor.bots")
@pytest.mark.parametrize("word", BOTS)
def test_a_program_that_names_itself_is_a_bot_in_any_case_of_letters(word, visitors):
    for said in (word, word.upper()):
        assert visitors.client_of(f"Mozilla/5.0 (compatible; x{said}/1.0)").bot


@pytest.mark.box("visitor.bots")
@pytest.mark.parametrize(
    ("agent", "method", "bot"),
    [
        (f"{ANDROID} Chrome/126.0.0.0 Mobile Safari/537.36", "GET", False),
        (f"{ANDROID} Chrome/126.0.0.0 Mobile Safari/537.36", "HEAD", True),
        ("curl/8.5.0", "GET", False),
        ("", "GET", False),
        ("", "HEAD", True),
        ("Mozilla/5.0 (Linux; Android 11; CUBOT NOTE 20) Mobile", "GET", False),
        ("Mozilla/5.0 (Linux; Android 11; CUBOT NOTE 20; Googlebot/2.1) Mobile", "GET", True),
    ],
)
def test_a_bot_is_who_says_so_or_asks_by_head(agent, method, bot, visitors):
    assert is_bot(agent, method) == bot
    found = visitors.visitor({"user-agent": agent}, method=method, address="", own_hosts=())
    assert found.client.bot == bot


@pytest.mark.limit("visitor.USER_AGENT_CHARACTERS_MAX")
def test_a_user_agent_is_read_up_to_its_longest(visitors):
    room = USER_AGENT_CHARACTERS_MAX - len("Googlebot")
    assert visitors.client_of("x" * room + "Googlebot").bot
    assert not visitors.client_of("x" * (room + 1) + "Googlebot").bot
