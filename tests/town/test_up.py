"""`bastide up` as a person runs it: how it opens, what it says, how it ends."""

import http.client
import re
import signal
import socket
import threading
import time
from pathlib import Path

import httpx
import msgspec
import pytest

READY = re.compile(r"ready in ([0-9.]+) s, ([0-9]+) MB\n")
# The aims are 2 s and 150 MB; time is asserted with room for a machine that has other work.
OPENING_S_MAX = 6
MEMORY_MB_MAX = 150
REQUESTS = 2_000


def test_it_opens_quickly_and_stays_small_after_use(start, capsys) -> None:
    town = start().until_ready()
    opening_s, memory_mb = map(float, READY.search(town.said).groups())
    client = http.client.HTTPConnection(town.file.http.removeprefix("http://"))
    for _ in range(REQUESTS):
        client.request("GET", "/healthz")
        assert client.getresponse().read()
    client.close()
    used_mb = _most_memory_mb(town.process.pid)
    with capsys.disabled():
        print(f"\nup: {opening_s:.2f} s, {memory_mb:.0f} MB; after use {used_mb:.0f} MB")
    assert opening_s < OPENING_S_MAX
    assert used_mb < MEMORY_MB_MAX


def _most_memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("only Linux tells the most memory that another process has held")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 1024


def test_it_prints_each_system_with_its_address_and_something_to_try(town) -> None:
    lines = town.said.splitlines()
    assert lines[0].split() == ["SYSTEM", "LEVEL", "ADDRESS", "TRY"]
    assert READY.match(lines[-1] + "\n")
    rows = {line.split()[0]: line for line in lines[1:-1]}
    mill = town.file.systems["mill"]["http"]
    assert rows["mill"].split() == ["mill", "unrated", mill, "curl", f"{mill}/wait?seconds=1"]
    assert rows["bakery"].split() == ["bakery", "unrated", f"{town.file.http}/bakery"]
    assert list(rows)[-1] == "console"


def test_the_town_file_names_every_system_where_it_answers(town) -> None:
    assert town.file.pid == town.process.pid
    addresses = {name: one["http"] for name, one in town.file.systems.items()}
    assert addresses["bakery"] == f"{town.file.http}/bakery"
    assert addresses["mill"] != f"{town.file.http}/mill", "it has an address of its own"
    for address in (town.file.http, *addresses.values()):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+(/[a-z]+)?", address)
    assert httpx.post(f"{addresses['mill']}/grind", json={"text": "RYE"}).json() == {"text": "rye"}
    assert httpx.get(f"{addresses['bakery']}/bread?grain=RYE").json() == {"text": "rye"}


def test_a_system_with_an_address_of_its_own_answers_below_the_main_one_too(town) -> None:
    reply = httpx.post(f"{town.file.http}/mill/grind", json={"text": "RYE"})
    assert reply.json() == {"text": "rye"}


def test_everything_answers_as_soon_as_there_is_a_town_file(start) -> None:
    town = start()
    while not (path := town.data / "town.json").exists():
        assert town.process.poll() is None, town.errors()
        time.sleep(0.001)  # a reader can only look again
    assert msgspec.json.decode(path.read_bytes())["pid"] == town.process.pid
    assert town.get("/healthz").json()["ok"]
    for system in town.file.systems.values():
        assert httpx.get(system["http"] + "/healthz").status_code in (200, 404)
    town.until_ready()


def test_the_main_address_has_health_schema_and_metrics(town) -> None:
    health = town.get("/healthz").json()
    assert health["ok"]
    assert {"mill", "bakery", "console"} <= health["systems"].keys()
    assert town.get("/schema").json()["openapi"] == "3.1.0"
    httpx.get(f"{town.file.http}/bakery/bread?grain=rye")
    metrics = town.get("/metrics").text
    assert 'bastide_calls_total{client="bakery",system="mill",verb="grind"}' in metrics


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_cleanly(start, number: signal.Signals) -> None:
    town = start().until_ready()
    assert town.stop(number) == 0
    assert not (town.data / "town.json").exists()
    assert town.errors() == ""


def test_a_signal_lets_what_is_in_flight_be_finished(start) -> None:
    town = start().until_ready()
    waiting = _in_flight(town, seconds=1)
    town.process.send_signal(signal.SIGTERM)
    reply = waiting.getresponse()
    assert (reply.status, reply.read()) == (200, b'{"text":"waited"}')
    assert town.ended() == 0


def test_a_second_signal_ends_it_at_once(start) -> None:
    town = start().until_ready()
    waiting = _in_flight(town, seconds=60)
    town.process.send_signal(signal.SIGINT)
    _until_gone(town.data / "town.json")
    started_s = time.perf_counter()
    assert town.stop(signal.SIGINT) == 130
    assert time.perf_counter() - started_s < 2
    waiting.close()


def _in_flight(town, *, seconds: int) -> http.client.HTTPConnection:
    """A request that the town is answering. Its connection's next request would wait behind it, so
    another one shows that the town has taken it up.
    """
    client = http.client.HTTPConnection(town.file.http.removeprefix("http://"), timeout=30)
    client.request("GET", f"/mill/wait?seconds={seconds}")
    town.get("/healthz")
    return client


def _until_gone(path: Path) -> None:
    while path.exists():
        time.sleep(0.001)  # the file is what a town shows of its stopping


def test_what_a_killed_town_has_left_stops_nobody(start) -> None:
    killed = start().until_ready()
    assert killed.stop(signal.SIGKILL) == -signal.SIGKILL
    assert killed.file.pid == killed.process.pid, "nobody was there to remove it"
    assert start().until_ready().stop() == 0


def test_the_file_of_a_killed_town_goes_before_the_next_one_opens(start) -> None:
    start().until_ready().stop(signal.SIGKILL)
    stuck = start(BASTIDE_MILL_STUCK="true")
    assert stuck.ended() == 7
    assert "the wheel is stuck" in stuck.errors()
    assert not (stuck.data / "town.json").exists()


def test_foreign_files_beside_the_data_are_left_alone(start, tmp_path: Path) -> None:
    data = tmp_path / "town"
    (data / "photographs").mkdir(parents=True)
    (data / "photographs/cat.jpg").write_bytes(b"cat")
    (data / "notes.txt").write_text("buy bread")
    assert start(data=data).until_ready().stop() == 0
    assert (data / "photographs/cat.jpg").read_bytes() == b"cat"
    assert (data / "notes.txt").read_text() == "buy bread"


def test_two_towns_on_the_same_data_are_refused_by_name(start) -> None:
    first = start().until_ready()
    second = start()
    assert second.ended() == 2
    assert f"{second.data} is in use by process {first.process.pid}" in second.errors()
    assert first.get("/healthz").status_code == 200


def test_towns_on_different_data_stand_side_by_side(start, tmp_path: Path) -> None:
    one = start(data=tmp_path / "one").until_ready()
    other = start(data=tmp_path / "other").until_ready()
    assert one.file.http != other.file.http


def test_busy_default_ports_are_skipped_and_it_says_so(start) -> None:
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            held.bind(("127.0.0.1", 8800))
            held.listen()
        except OSError:
            pass  # somebody else holds it: as good
        town = start(BASTIDE_HTTP=None).until_ready()
    port = int(town.file.http.rpartition(":")[2])
    assert 8800 < port < 8820
    assert f"port 8800 is busy: the town is on {port}" in town.errors()
    assert town.get("/healthz").status_code == 200


def test_a_busy_port_that_somebody_chose_is_refused(start) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        address = f"127.0.0.1:{held.getsockname()[1]}"
        town = start(BASTIDE_HTTP=address)
        assert town.ended() == 2
    assert f"BASTIDE_HTTP={address}: " in town.errors()
    assert "in use" in town.errors()


def test_the_words_of_the_command_win_over_the_environment(start) -> None:
    town = start("--http", "127.0.0.1:0", BASTIDE_HTTP="nonsense").until_ready()
    assert town.get("/healthz").status_code == 200


WRONG = {
    "BASTIDE_HTP": (
        "127.0.0.1:0",
        "BASTIDE_HTP is set, and nothing reads it; did you mean BASTIDE_HTTP",
    ),
    "BASTIDE_MILL_STONE": ("2", "did you mean BASTIDE_MILL_STONES"),
    "BASTIDE_QUITE_ELSEWHERE": ("2", "`bastide env` lists what is read"),
    "BASTIDE_HTTP": ("8800", "'8800' is no address; one like 127.0.0.1:8800 is expected"),
    "BASTIDE_MILL_HTTP": ("127.0.0.1:65536", "is no address"),
    "BASTIDE_MILL_STONES": ("9", "BASTIDE_MILL_STONES=9: Expected `int` <= 8"),
    "BASTIDE_TRUSTED_PROXIES": ("localhost", "BASTIDE_TRUSTED_PROXIES=localhost"),
}


@pytest.mark.parametrize("variable", WRONG)
def test_a_setting_that_nothing_reads_or_that_is_wrong_is_refused(start, variable: str) -> None:
    value, said = WRONG[variable]
    town = start(**{variable: value})
    assert town.ended() == 2
    assert said in town.errors()
    assert "Traceback" not in town.errors()
    assert not (town.data / "town.json").exists()


@pytest.mark.parametrize("address", ["192.0.2.1:0", "no-such-host.invalid:0"])
def test_an_address_that_is_not_ours_is_refused(start, address: str) -> None:
    town = start(BASTIDE_HTTP=address)
    assert town.ended() == 2
    assert f"BASTIDE_HTTP={address}: " in town.errors()
    assert "Traceback" not in town.errors()


def test_variables_of_the_tests_are_no_settings(start) -> None:
    assert start(BASTIDE_TEST_ROUNDS="3").until_ready().stop() == 0


def test_only_opens_what_is_named_and_what_it_stands_on(start) -> None:
    town = start("--only", "bakery").until_ready()
    assert town.file.systems.keys() == {"bakery", "mill"}
    assert town.get("/bakery/bread?grain=RYE").json() == {"text": "rye"}
    assert town.get("/healthz").status_code == 200, "the main address is always up"
    assert town.get("/console/").status_code == 404


def test_only_refuses_a_system_that_is_not_there(start) -> None:
    town = start("--only", "bakery,butcher")
    assert town.ended() == 2
    assert "there is no system butcher; there are mill, bakery, " in town.errors()


def test_it_listens_on_this_machine_alone(town) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        try:
            route.connect(("192.0.2.1", 9))  # sends nothing; tells where from it would
        except OSError:
            pytest.skip("this machine has no address but its loopback one")
        here = route.getsockname()[0]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://{here}:{town.file.http.rpartition(':')[2]}/healthz")


def test_many_requests_at_once_are_all_answered(town) -> None:
    statuses = []

    def ask() -> None:
        with httpx.Client(base_url=town.file.http) as client:
            replies = [client.get("/bakery/bread?grain=rye") for _ in range(20)]
        statuses.extend(reply.status_code for reply in replies)

    asking = [threading.Thread(target=ask) for _ in range(8)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert statuses == [200] * 160


def test_the_data_directory_is_made_with_its_parents(start, tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    town = start(data=tmp_path / "some/where").until_ready()
    assert town.get("/healthz").status_code == 200
