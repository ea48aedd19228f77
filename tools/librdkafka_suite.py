"""librdkafka's own integration tests, against a broker that runs.

python -m tools.librdkafka_suite --bootstrap HOST:PORT
    --no-create HOST:PORT   a second broker, which makes no topic by itself; without it, what wants
                            one is left out
    --only 0001,0012        these files alone
    --patience 2            its time-outs, twice as long
    --together 2            two files at a time
    --jars DIR              Kafka's client as Java has it: the parts with Java run too
    --source DIR            an unpacked source tree; else Debian's source package is fetched by apt
    --cache DIR             where it is unpacked, built and run, outside of the project
    --name TEXT             what the broker is called in the report
    --json                  the outcomes as JSON, in place of the table
    --write PATH            a report in Markdown too
    --at-least 80           ends well if that many in a hundred passed; else, if all did

Each file runs in a process of its own. What it says is kept in the cache, as runs/NUMBER.log; with
TEST_DEBUG=protocol in the environment, each request and reply too. The broker must do as that of
the suite's cluster: 4 partitions for a topic that it makes by itself, and 3 s of waiting for other
members before a new group's first rebalance. The suite's own quick form is not offered: there,
every tenth file passes without having asked the broker for anything.
"""

import argparse
import hashlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec
from msgspec import Struct
from tqdm import tqdm

from tools import librdkafka_report as report
from tools.librdkafka_report import Outcome, State
from tools.librdkafka_tests import (
    FILES_MIN,
    NO_CREATE,
    NOT_OURS,
    VERSION,
    Change,
    File,
    changed,
    changes,
    files_of,
    tests_of,
)

PACKAGE = f"librdkafka={VERSION}-1"
ARCHIVE = f"librdkafka_{VERSION}.orig.tar.gz"
KAFKA = "3.1.0"  # what the suite takes the broker for: the newest that it knows
FILE_S = 900.0  # of one file, times patience; the suite's own time-outs end most long before
ANSWER_S = 5.0
BUILD_PACKAGES = "gcc g++ make bash zlib1g-dev libzstd-dev rapidjson-dev"
HEADERS = ("zlib.h", "zstd.h", "rapidjson/schema.h")
CONFIGURE = (
    *("--disable-ssl", "--disable-gssapi", "--disable-curl", "--disable-syslog"),
    "--disable-debug-symbols",
)
SOURCES = "[0-9]*-*.c*"
PROJECT = Path(__file__).resolve().parent.parent

COLOR = re.compile(r"\x1b\[[0-9;]*m")
LINE = re.compile(r"^\| *(\w+) *\| *([A-Z]+) *\| *([0-9.]+)s *\|(.*)$", re.MULTILINE)
FAILED = re.compile(r'^### Test "(.*)" failed at .*: ###\n(.*)$', re.MULTILINE)
LATE = "timed out (timeout set to "
TOPIC = re.compile(r"rdk[0-9]{1,9}_(rnd[0-9a-f]+_)?")  # what two runs would call differently


# The worst of a file's tests is the file's.
WORST = (State.LATE, State.FAILED, State.LEFT_OUT, State.PASSED, State.SKIPPED)


class Said(Struct, frozen=True):
    """What one test of a file came to, by the summary that the suite prints."""

    state: State
    reason: str


class Wanted(Struct, frozen=True):
    """How to run. `brokers` by scenario."""

    tests: Path  # the built suite
    runs: Path
    brokers: Mapping[str, str]
    patience: float
    changes: Sequence[Change]


# Getting it


def fetched(cache: Path) -> Path:
    """Debian's source package, by an apt whose sources and lists are ours, not the machine's."""
    archive = cache / ARCHIVE
    if archive.exists():
        return archive
    if shutil.which("apt-get") is None:
        raise SystemExit("apt-get is not here: unpack librdkafka's source, and name it by --source")
    apt = cache / "apt"
    for part in ("lists/partial", "cache/archives/partial"):
        (apt / part).mkdir(parents=True, exist_ok=True)
    wanted = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    asked = ("indextargets", "--format", wanted, "Created-By: Packages", "Origin: Debian")
    told = _ran("apt-get", *asked)
    sources = "".join(f"deb-src {line}\n" for line in told.splitlines())
    (apt / "sources.list").write_text(sources, encoding="utf-8")
    places = {
        "Dir::Etc::sourcelist": apt / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": apt / "lists",
        "Dir::Cache": apt / "cache",
    }
    options = [word for name, place in places.items() for word in ("-o", f"{name}={place}")]
    _ran("apt-get", *options, "update")
    _ran("apt-get", *options, "source", "--download-only", PACKAGE, directory=cache)
    return archive


def unpacked(cache: Path) -> Path:
    tree = cache / f"librdkafka-{VERSION}"
    if not tree.exists():
        _ran("tar", "-xzf", str(fetched(cache)), directory=cache)
    return tree


def built(cache: Path, source: Path | None, wanted: Sequence[Change]) -> Path:
    """The suite's directory, with its program. Built once for each set of changes."""
    recipe = msgspec.json.encode([VERSION, str(source), CONFIGURE, wanted])
    tree = cache / f"build-{hashlib.sha256(recipe).hexdigest()[:8]}"
    tests, done = tree / "tests", tree / "built"
    if done.exists():
        return tests
    _check_tools()
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(source or unpacked(cache), tree, symlinks=True)
    for path in tests.glob(SOURCES):
        text = path.read_text(encoding="utf-8")
        path.write_text(changed(path.name[:4], text, wanted), encoding="utf-8")
    print(f"building librdkafka's tests in {tree}", file=sys.stderr)
    _ran("./configure", *CONFIGURE, directory=tree)
    for part, target in (("src", "lib"), ("src-cpp", "lib"), ("tests", "build")):
        _ran("make", f"-j{os.cpu_count() or 1}", "-C", part, target, directory=tree)
    done.touch()
    return tests


def _check_tools() -> None:
    missing = [name for name in ("gcc", "g++", "make", "bash") if shutil.which(name) is None]
    if not missing:
        text = "".join(f"#include <{name}>\n" for name in HEADERS)
        command = ("g++", "-x", "c++", "-fsyntax-only", "-")
        done = subprocess.run(command, input=text, text=True, capture_output=True)  # noqa: S603 (ours)
        missing = [name for name in HEADERS if f"{name}: No such file" in done.stderr]
    if missing:
        raise SystemExit(f"{', '.join(missing)} not found: apt-get install {BUILD_PACKAGES}")


def _ran(*words: str, directory: Path | None = None) -> str:
    done = subprocess.run(words, cwd=directory, text=True, capture_output=True)  # noqa: S603 (ours)
    if done.returncode:
        tail = (done.stdout + done.stderr)[-2000:]
        raise SystemExit(f"{shlex.join(words)} ended with {done.returncode}:\n{tail}")
    return done.stdout


# Running it


def run_all(files: Sequence[File], wanted: Wanted, together: int) -> Sequence[Outcome]:
    run = partial(outcome_of, wanted=wanted)
    with ThreadPoolExecutor(together) as pool, tqdm(total=len(files), disable=None) as bar:

        def told(file: File) -> Outcome:
            outcome = run(file)
            bar.update()
            bar.set_postfix_str(f"{outcome.name} {outcome.state.value}")
            return outcome

        return list(pool.map(told, files))


def outcome_of(file: File, wanted: Wanted) -> Outcome:
    differs = "; ".join(c.why for c in wanted.changes if file.number in c.numbers)
    if file.number in NOT_OURS:
        return Outcome(file.name, State.NOT_OURS, reason=NOT_OURS[file.number])
    began_s, found = time.monotonic(), list[Said]()
    for scenario in ("default", NO_CREATE):
        names = [test.name for test in file.tests if scenario in test.scenarios]
        if names and scenario in wanted.brokers:
            found += _run(file, names, scenario, wanted)
        elif names:
            found.append(Said(State.LEFT_OUT, "no broker was named that makes no topic by itself"))
    worst = min(found, key=lambda said: WORST.index(said.state))
    seconds = time.monotonic() - began_s
    return Outcome(file.name, worst.state, seconds, worst.reason, differs)


def _run(file: File, names: Sequence[str], scenario: str, wanted: Wanted) -> Sequence[Said]:
    """Each test of one process. Broker-less ones are left out by -L."""
    conf = wanted.runs / f"{file.number}-{scenario}.conf"
    conf.write_text(_conf(wanted.brokers[scenario], wanted.patience), encoding="utf-8")
    words = ["./test-runner", "-L", "-p1", "-s", scenario]
    log = wanted.runs / f"{file.number}{'' if scenario == 'default' else '-' + scenario}.log"
    # Its summary comes buffered, and would break into lines of the other stream.
    with log.open("w+b") as errors, tempfile.TemporaryFile() as output:
        process = subprocess.Popen(  # noqa: S603 (built by us)
            words,
            cwd=wanted.tests,
            env=_environment(file.number, conf, wanted.brokers[scenario], wanted),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(FILE_S * wanted.patience)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process)  # a test may have left children
        output.seek(0)
        errors.seek(0, os.SEEK_END)
        shutil.copyfileobj(output, errors)
    return judged(log.read_text(encoding="utf-8", errors="replace"), code, names)


def _conf(broker: str, patience: float) -> str:
    return (
        f"bootstrap.servers={broker}\n"
        f"test.topic.prefix=rdk{time.time_ns() // 1_000_000 % 1_000_000_000}\n"
        f"test.timeout.multiplier={patience}\n"
    )


def _environment(number: str, conf: Path, broker: str, wanted: Wanted) -> Mapping[str, str]:
    """CI is taken out: the suite would be laxer there, and leave tests out."""
    kept = {name: value for name, value in os.environ.items() if name != "CI"}
    tree = wanted.tests.parent
    return {
        **kept,
        "TESTS": number,
        "RDKAFKA_TEST_CONF": str(conf),
        "TEST_KAFKA_VERSION": KAFKA,
        "KAFKA_PATH": str(wanted.runs.parent / "kafka"),
        "BROKERS": broker,
        "LD_LIBRARY_PATH": f"{tree / 'src'}:{tree / 'src-cpp'}",
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def judged(text: str, code: int | None, names: Sequence[str]) -> Sequence[Said]:
    """What the tests called `names` came to, by what their process said and how it ended.

    `code` None: it did not end.
    """
    text = TOPIC.sub("", COLOR.sub("", text))
    failures = FAILED.findall(text)
    if code is None or any(LATE in reason for _, reason in failures):
        return [Said(State.LATE, _first(failures) or "it did not end")]
    lines = {name: (state, why.strip()) for name, state, _, why in LINE.findall(text)}
    missing = [name for name in names if name not in lines]
    if missing:
        end = f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"
        return [Said(State.FAILED, _first(failures) or f"it ended without a summary, with {end}")]
    found = [_said(*lines[name], failures) for name in names]
    if code and all(said.state is not State.FAILED for said in found):
        return [Said(State.FAILED, _first(failures) or f"it ended with {code}")]
    return found


def _said(state: str, why: str, failures: Sequence[tuple[str, str]]) -> Said:
    if state == "SKIPPED":
        return Said(State.SKIPPED, why)
    if state == "PASSED":
        return Said(State.PASSED, "")
    return Said(State.FAILED, why or _first(failures) or f"it is {state.lower()} at the end")


def _first(failures: Sequence[tuple[str, str]]) -> str:
    return failures[0][1].strip() if failures else ""


# What stands for Kafka's own programs


def make_kafka(place: Path, jars: Path | None) -> None:
    """A directory like a release of Kafka, with the two programs that tests call."""
    (place / "bin").mkdir(parents=True, exist_ok=True)
    python, here = shlex.quote(sys.executable), shlex.quote(str(PROJECT))
    topics = f'cd {here} && exec {python} -m tools.librdkafka_topics "$@"'
    _write_program(place / "bin/kafka-topics.sh", topics)
    libs = place / "libs"
    libs.unlink(missing_ok=True)
    if jars is not None:
        libs.symlink_to(jars.resolve())
        java = f'exec java -cp "$CLASSPATH:{libs}/*" "$@"'
        _write_program(place / "bin/kafka-run-class.sh", java)


def _write_program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


# The command


def check_answers(broker: str) -> None:
    """Some tests want no more than that their requests time out: with no broker they would pass."""
    host, _, port = broker.rpartition(":")
    try:
        socket.create_connection((host, int(port)), ANSWER_S).close()
    except (OSError, ValueError) as error:
        raise SystemExit(f"nothing answers at {broker}: {error}") from error


def main(words: Sequence[str]) -> int:
    asked = _asked(words)
    cache: Path = asked.cache.resolve()
    if PROJECT in (cache, *cache.parents):
        raise SystemExit(f"{cache} is in the project: name another by --cache")
    if asked.write and asked.only:
        raise SystemExit("a report is of the whole suite: --write without --only")
    made = changes(with_java=asked.jars is not None)
    (cache / "runs").mkdir(parents=True, exist_ok=True)
    tests = built(cache, asked.source, made)
    make_kafka(cache / "kafka", asked.jars)
    files = read_files(tests)
    brokers = {"default": asked.bootstrap, NO_CREATE: asked.no_create}
    named = {scenario: broker for scenario, broker in brokers.items() if broker}
    for broker in named.values():
        check_answers(broker)
    wanted = Wanted(tests, cache / "runs", named, asked.patience, made)
    outcomes = run_all(_chosen(files, asked.only), wanted, asked.together)
    for left in tests.glob("stats_*.json"):
        left.unlink(missing_ok=True)
    _tell(asked, outcomes, files)
    return 0 if report.share(outcomes) >= asked.at_least else 1


def _asked(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.librdkafka_suite",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cache = Path(tempfile.gettempdir()) / "librdkafka"
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--no-create")
    parser.add_argument("--only")
    parser.add_argument("--patience", type=float, default=1.0)
    parser.add_argument("--together", type=int, default=1)
    parser.add_argument("--jars", type=Path)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--cache", type=Path, default=cache)
    parser.add_argument("--name", default="a broker")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--at-least", type=int, default=100)
    return parser.parse_args(words)


def read_files(tests: Path) -> Sequence[File]:
    """All that the suite has."""
    table = tests_of((tests / "test.c").read_text(encoding="utf-8"))
    files = files_of([path.stem for path in tests.glob(SOURCES)], table)
    if len(files) < FILES_MIN:
        raise SystemExit(f"{tests}: {len(files)} files are not librdkafka's suite")
    return files


def _chosen(files: Sequence[File], only: str | None) -> Sequence[File]:
    """Without those that need no broker."""
    ours = [file for file in files if file.tests or file.number in NOT_OURS]
    if only is None:
        return ours
    numbers = only.split(",")
    if unknown := sorted({*numbers} - {file.number for file in ours}):
        raise SystemExit(f"no file that needs a broker is called {', '.join(unknown)}")
    return [file for file in ours if file.number in numbers]


def _tell(asked: argparse.Namespace, outcomes: Sequence[Outcome], files: Sequence[File]) -> None:
    if asked.json:
        print(report.as_json(outcomes))
    else:
        print("\n".join(report.lines(outcomes)))
    if asked.write:
        how = f"Run with {asked.together} at a time, and time-outs times {asked.patience:g}."
        page = report.page(asked.name, how, outcomes, files)
        asked.write.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
