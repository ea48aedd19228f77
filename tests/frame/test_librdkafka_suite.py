import signal
import socket
from pathlib import Path

import pytest

from tools import librdkafka_report as report
from tools import librdkafka_suite as suite
from tools import librdkafka_tests as tests
from tools.librdkafka_report import Outcome, State
from tools.librdkafka_suite import Said
from tools.librdkafka_tests import Change, Entry, File

TABLE = """
#define _TEST(NAME, FLAGS, ...) { .name = #NAME, .flags = FLAGS, __VA_ARGS__ }
struct test tests[] = {
    {.name = "<MAIN>", .flags = TEST_F_LOCAL},
    _TEST(0000_unittests,
          TEST_F_LOCAL,
          _THRES(.ucpu = 100.0)),
    _TEST(0001_multiobj, 0),
#if WITH_SOCKEM
    _TEST(0049_consume_conn_close, TEST_F_SOCKEM, TEST_BRKVER(0, 9, 0, 0)),
#endif
    _TEST(0045_subscribe_update, 0, TEST_BRKVER(0, 9, 0, 0)),
    _TEST(0045_subscribe_update_topic_remove,
          0,
          TEST_BRKVER(0, 9, 0, 0),
          .scenario = "noautocreate"),
    _TEST(0045_subscribe_update_mock, TEST_F_LOCAL),
    _TEST(0066_plugins,
          TEST_F_LOCAL | TEST_F_KNOWN_ISSUE_OSX,
          .extra = "x"),
    _TEST(0103_transactions, 0, .scenario = "default,ak23"),
    /* Manual tests */
    _TEST(8000_idle, TEST_F_MANUAL),
    {NULL}};
    _TEST(9999_behind, 0),
"""
SUMMARY = """\
TEST 20260101000000 (bare, scenario default) SUMMARY
#==================================================================#
|\x1b[32m <MAIN>                                   |     PASSED |   9.104s \x1b[0m|
|{color} 0001_multiobj                            | {state:>10} |   2.104s \x1b[0m|{why}
#==================================================================#
"""
FAILURE = (
    '\x1b[31m### Test "0001_multiobj (do_it:12)" failed at 0001-multiobj.c:44:main() at Fri: ###\n'
    "expected this, not that\n\x1b[0m"
)
NAMES = ("0001_multiobj",)


def summary(state: str, why: str = "") -> str:
    return SUMMARY.format(state=state, why=why, color="\x1b[31m")


def test_the_table_of_tests_is_read_with_what_each_needs() -> None:
    found = {test.name: test for test in tests.tests_of(TABLE)}
    assert list(found) == [
        *("0000_unittests", "0001_multiobj", "0049_consume_conn_close", "0045_subscribe_update"),
        *("0045_subscribe_update_topic_remove", "0045_subscribe_update_mock", "0066_plugins"),
        *("0103_transactions", "8000_idle"),
    ]
    local = {name for name, test in found.items() if not test.needs_broker}
    assert local == {"0000_unittests", "0045_subscribe_update_mock", "0066_plugins"}
    assert found["0045_subscribe_update_topic_remove"].scenarios == ["noautocreate"]
    assert found["0103_transactions"].scenarios == ["default", "ak23"]


@pytest.mark.parametrize("source", ["", "struct test tests[] = {\n    _TEST(),\n{NULL}};"])
def test_a_table_that_is_not_understood_ends_the_run(source: str) -> None:
    with pytest.raises(SystemExit, match=r"test\.c"):
        tests.tests_of(source)


def test_a_file_has_those_of_its_tests_that_need_a_broker() -> None:
    names = ["test", "0045-subscribe_update", "0000-unittests", "xxxx-metadata", "1000-unktopic"]
    found = {file.name: file for file in tests.files_of(names, tests.tests_of(TABLE))}
    assert list(found) == ["0000-unittests", "0045-subscribe_update", "1000-unktopic"]
    assert found["0000-unittests"].tests == []
    assert [test.name for test in found["0045-subscribe_update"].tests] == [
        "0045_subscribe_update",
        "0045_subscribe_update_topic_remove",
    ]


def test_a_change_is_made_in_its_files_only_and_must_find_its_place() -> None:
    change = Change(("0103",), r"(create_topic\([^;]*), 3\);", r"\1, 1);", "one replica")
    text = "test_create_topic(p, topic, 4, 3);\nrun(10, 3);\n"
    assert tests.changed("0107", text, [change]) == text
    assert tests.changed("0103", text, [change]) == text.replace("4, 3", "4, 1")
    with pytest.raises(SystemExit, match="0103: nothing to change"):
        tests.changed("0103", "run(10, 3);\n", [change])


def test_java_is_left_out_only_where_there_is_none() -> None:
    with_java, without = tests.changes(with_java=True), tests.changes(with_java=False)
    assert {change for change in without if change not in with_java} == {*tests.JAVA_CHANGES}


def test_a_test_that_passed_is_told_by_its_line_of_the_summary() -> None:
    assert suite.judged(summary("PASSED"), 0, NAMES) == [Said(State.PASSED, "")]


def test_a_failure_has_the_reason_that_the_summary_gives() -> None:
    text = FAILURE + summary("FAILED", "\x1b[31m do_it:12: main():44: this, not that\x1b[0m")
    assert suite.judged(text, 1, NAMES) == [
        Said(State.FAILED, "do_it:12: main():44: this, not that")
    ]


def test_a_failure_without_a_reason_in_the_summary_has_the_first_that_was_said() -> None:
    said = suite.judged(FAILURE + summary("FAILED"), 1, NAMES)
    assert said == [Said(State.FAILED, "expected this, not that")]


def test_a_reason_does_not_depend_on_the_run() -> None:
    said = suite.judged(
        summary("FAILED", " rdk809960598_rnd506a4e5a2e52d0cb_topic_g: no"), 1, NAMES
    )
    assert said == [Said(State.FAILED, "topic_g: no")]


def test_a_test_that_skipped_itself_says_why() -> None:
    text = summary("SKIPPED", "\x1b[36m Test requires SSL support\x1b[0m")
    assert suite.judged(text, 0, NAMES) == [Said(State.SKIPPED, "Test requires SSL support")]


def test_a_time_out_of_the_suite_or_of_ours_is_told_from_a_failure() -> None:
    late = FAILURE.replace("expected this", "Test 0001 timed out (timeout set to 30 seconds)")
    said = suite.judged(late + summary("FAILED"), -signal.SIGKILL, NAMES)
    assert said == [Said(State.LATE, "Test 0001 timed out (timeout set to 30 seconds), not that")]
    assert suite.judged("", None, NAMES) == [Said(State.LATE, "it did not end")]


def test_a_process_that_ends_without_a_summary_has_failed() -> None:
    assert suite.judged("", -signal.SIGSEGV, NAMES) == [
        Said(State.FAILED, "it ended without a summary, with signal SIGSEGV")
    ]
    assert suite.judged(FAILURE, 1, NAMES) == [Said(State.FAILED, "expected this, not that")]


def test_a_process_that_ends_badly_after_its_tests_passed_has_failed() -> None:
    threads = FAILURE.replace("expected this, not that", "2 thread(s) still active in librdkafka")
    said = suite.judged(summary("PASSED") + threads, 1, NAMES)
    assert said == [Said(State.FAILED, "2 thread(s) still active in librdkafka")]


def wanted(directory: Path, program: str, **brokers: str) -> suite.Wanted:
    (directory / "test-runner").write_text(f"#!/bin/sh\n{program}\n")
    (directory / "test-runner").chmod(0o755)
    (directory / "runs").mkdir()
    change = Change(("0001",), "a", "b", "with b")
    return suite.Wanted(directory, directory / "runs", brokers, 1.0, [change])


def test_a_file_is_run_with_its_number_its_broker_and_without_ci(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    program = f'test "$CI" = "" && cat "$RDKAFKA_TEST_CONF" >&2 && cat <<X\n{summary("PASSED")}X'
    file = File("0001-multiobj", [Entry("0001_multiobj", True, ["default"])])
    outcome = suite.outcome_of(file, wanted(tmp_path, program, default="127.0.0.1:9092"))
    assert (outcome.state, outcome.changed) == (State.PASSED, "with b")
    log = (tmp_path / "runs/0001.log").read_text()
    assert "bootstrap.servers=127.0.0.1:9092\n" in log


def test_a_file_is_as_bad_as_the_worst_of_its_scenarios(tmp_path: Path) -> None:
    both = [
        Entry("0001_multiobj", True, ["default"]),
        Entry("0001_other", True, ["noautocreate"]),
    ]
    run = wanted(tmp_path, f"cat <<X\n{summary('PASSED')}X", default="127.0.0.1:9092")
    outcome = suite.outcome_of(File("0001-multiobj", both), run)
    assert outcome.state is State.LEFT_OUT
    assert outcome.reason == "no broker was named that makes no topic by itself"


def test_what_is_not_ours_is_not_run(tmp_path: Path) -> None:
    file = File("0097-ssl_verify", [Entry("0097_ssl_verify", True, ["default"])])
    outcome = suite.outcome_of(file, wanted(tmp_path, "exit 3", default="127.0.0.1:9092"))
    assert outcome == Outcome(file.name, State.NOT_OURS, reason=tests.NOT_OURS["0097"])


def test_a_broker_that_is_not_there_is_told_before_anything_runs() -> None:
    with socket.socket() as bound:  # it does not listen
        bound.bind(("127.0.0.1", 0))
        broker = f"127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(SystemExit, match=f"nothing answers at {broker}"):
            suite.check_answers(broker)
        bound.listen()
        suite.check_answers(broker)
    with pytest.raises(SystemExit, match="nothing answers at localhost"):
        suite.check_answers("localhost")


OUTCOMES = [
    Outcome("0001-multiobj", State.PASSED, 2.0),
    Outcome("0002-unkpart", State.FAILED, 3.0, "not that | this\nmore"),
    Outcome("0003-msgmaxsize", State.PASSED, 1.0, changed="one replica"),
    Outcome("0097-ssl_verify", State.NOT_OURS, reason="TLS"),
]


def test_the_share_counts_only_what_is_ours() -> None:
    assert report.share(OUTCOMES) == 66
    assert report.share([]) == 100
    assert report.share([Outcome("0107-topic_recreate", State.LEFT_OUT)]) == 0


def test_the_lines_name_each_file_and_count_the_states() -> None:
    lines = list(report.lines(OUTCOMES))
    assert lines[1].split() == ["0002-unkpart", "failed", "3.0", "not", "that", "|", "this"]
    assert lines[-2] == "2 passed, 1 failed, 1 not applicable"


def test_the_page_says_what_passed_what_did_not_and_what_was_changed() -> None:
    files = [File(outcome.name, []) for outcome in OUTCOMES] + [File("0000-unittests", [])]
    page = report.page("bastide 0.1", "Run alone.", OUTCOMES, files)
    assert page.startswith("# librdkafka's own tests, against bastide 0.1\n")
    assert "has 5 files of tests. 1 of them" in page
    assert "**2 passed: 66 in a hundred**, 1 of them as they" in page
    assert "| 0002-unkpart | failed | 3 | not that \\| this |" in page
    assert "\n- 0092: message.format.version is no setting any more\n" in page
    assert "| 0097-ssl_verify | 0 | TLS |" in page
    assert "| 0003-msgmaxsize | one replica |" in page
    assert page.endswith("| 0003-msgmaxsize | 1 |\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--cache", str(suite.PROJECT / "cache")), "is in the project"),
        (("--write", "a.md", "--only", "0001"), "a report is of the whole suite"),
    ],
)
def test_a_command_that_would_mislead_is_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        suite.main(["--bootstrap", "127.0.0.1:9", *words])
