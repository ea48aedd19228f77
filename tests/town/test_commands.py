"""The words of `bastide` beside `up`, with a running town and without one."""

import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

LAUNCH = Path(__file__).with_name("launch.py")


def test_list_names_the_systems_from_the_ground_up_and_what_they_stand_on(bastide) -> None:
    lines = bastide("list").stdout.splitlines()
    assert lines[0].split() == ["SYSTEM", "FLOOR", "WHAT", "STANDS", "ON"]
    assert [line.split() for line in lines[1:3]] == [
        ["mill", "engines", "Grinds."],
        ["bakery", "apps", "Bakes.", "mill"],
    ]
    assert lines[-1].startswith("console")


def test_env_lists_every_setting_with_its_default_and_meaning(bastide) -> None:
    lines = bastide("env").stdout.splitlines()
    assert lines[0].split() == ["VARIABLE", "DEFAULT", "MEANING"]
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert rows["BASTIDE_HTTP"][0] == "127.0.0.1:8800"
    assert rows["BASTIDE_MILL_STONES"] == ["2", "that", "grind", "at", "once"]
    assert rows["BASTIDE_MILL_HTTP"][0] == "127.0.0.1:8890"
    assert rows["BASTIDE_TRUSTED_PROXIES"][0] == "-"


def test_env_for_programs_holds_the_same(bastide) -> None:
    found = msgspec.json.decode(bastide("env", "--json").stdout)
    [stones, stuck, address] = found["mill"]
    assert stones["variable"] == "BASTIDE_MILL_STONES"
    assert (stones["default"], stones["meaning"]) == ("2", "that grind at once")
    assert stuck["default"] == "false"
    assert address["variable"] == "BASTIDE_MILL_HTTP"
    assert {one["variable"] for one in found[""]} >= {"BASTIDE_DATA", "BASTIDE_HTTP"}


def test_bench_measures_one_system(bastide) -> None:
    ended = bastide("bench", "mill", "--seconds", "2")
    assert ended.stdout.splitlines()[0] == "mill.grinding: how fast"
    assert ended.stdout.split()[-2:] == ["grains_per_s", "2,469.00"]


def test_bench_for_programs_holds_the_figures(bastide) -> None:
    ended = bastide("bench", "mill", "--only", "grinding", "--json", "--seconds", "2")
    assert msgspec.json.decode(ended.stdout) == {"mill.grinding": {"grains_per_s": 2469.0}}


def test_bench_measures_a_part_too(bastide) -> None:
    ended = bastide("bench", "seglog", "--json", "--seconds", "0")
    assert list(msgspec.json.decode(ended.stdout)) == ["seglog.appends"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mill", "--only", "baking"], "no workload has this name"),
        (["bakery"], "no workload has this name"),
        (["butcher"], "there is no system butcher"),
    ],
)
def test_bench_refuses_what_it_can_not_measure(bastide, words: list[str], said: str) -> None:
    ended = bastide("bench", *words)
    assert ended.returncode == 2
    assert said in ended.stderr


def test_a_command_opens_its_system_if_no_town_runs(bastide, tmp_path: Path) -> None:
    ended = bastide("mill", "grind", "RYE")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "rye\n", "")
    assert not (tmp_path / "town/town.json").exists()


def test_a_command_speaks_to_the_running_town(start, bastide) -> None:
    town = start().until_ready()
    assert bastide("mill", "grind", "RYE").stdout == "rye\n"
    metrics = town.get("/metrics").text
    assert 'bastide_http_requests_total{door="grind",status="200",system="mill"} 1\n' in metrics


def test_a_command_is_not_misled_by_what_a_killed_town_has_left(start, bastide) -> None:
    start().until_ready().stop(signal.SIGKILL)
    assert bastide("mill", "grind", "RYE").stdout == "rye\n"


def test_a_command_says_so_if_the_running_town_is_without_its_system(start, bastide) -> None:
    start("--only", "console").until_ready()
    ended = bastide("mill", "grind", "RYE")
    assert ended.returncode == 2
    assert "runs without mill" in ended.stderr


@pytest.mark.parametrize("running", [True, False])
def test_a_refusal_gives_the_exit_code_of_its_kind(start, bastide, running: bool) -> None:
    if running:
        start().until_ready()
    ended = bastide("mill", "grind", "stones")
    assert (ended.returncode, ended.stdout) == (4, "")
    assert ended.stderr == "bastide: this is no grain\n"


def test_a_town_that_opens_on_its_own_reads_settings_too(bastide) -> None:
    ended = bastide("mill", "grind", "RYE", BASTIDE_MILL_STUCK="true")
    assert (ended.returncode, ended.stderr) == (7, "bastide: the wheel is stuck\n")
    assert bastide("mill", "grind", "RYE").stdout == "rye\n", "its lock was let go of"


@pytest.mark.parametrize("words", [[], ["butcher"], ["mill"], ["mill", "saw"], ["up", "--loud"]])
def test_words_that_mean_nothing_are_refused_with_the_usage(bastide, words: list[str]) -> None:
    ended = bastide(*words)
    assert ended.returncode == 2
    assert ended.stderr.startswith("usage: bastide")


def test_it_tells_its_version(bastide) -> None:
    assert bastide("--version").stdout.startswith("bastide 0.")


def test_a_reader_that_goes_early_is_no_error(environ) -> None:
    words = f"{sys.executable} {LAUNCH} env | head -1"
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", words], capture_output=True, text=True, env=environ
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("VARIABLE")
