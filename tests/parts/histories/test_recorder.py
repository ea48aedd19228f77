"""Recording: what is told of an operation, and that lines of JSON bring all of it back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.parts.histories.contract import (
    OPERATIONS_MAX,
    Access,
    Change,
    Grant,
    HistoryFull,
    Operation,
    RecordInvalid,
    Response,
    Watch,
)
from bastide.parts.histories.recorder import Recorder, lines_of, merged, records_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=6,
)


def test_a_call_ends_in_one_of_three_ways_or_never():
    recorder = Recorder()
    ok, failed, unknown, _ = (recorder.invoke("c", "write", n, argument=n) for n in range(4))
    ok.returned(5.0, "done")
    failed.failed(6.0)
    unknown.unknown(7.0)
    told = [(o.number, o.outcome, o.returned, o.result) for o in recorder.history()]
    assert told == [
        (0, "ok", 5.0, "done"),
        (1, "failed", 6.0, None),
        (2, "unknown", 7.0, None),
        (3, "unknown", None, None),
    ]


def test_what_happens_at_one_time_keeps_its_order_by_the_smallest_steps():
    recorder = Recorder()
    first = recorder.invoke("a", "read", 1.0)
    first.returned(1.0)
    recorder.invoke("b", "read", 1.0)
    one, other = recorder.history()
    assert one.invoked < one.returned < other.invoked < 1.000001


def test_a_clock_that_goes_back_does_not_turn_the_order():
    recorder = Recorder()
    recorder.invoke("a", "read", 2.0).returned(1.0)
    (operation,) = recorder.history()
    assert operation.returned > operation.invoked


def test_lists_are_recorded_as_tuples_and_what_json_has_not_is_refused():
    recorder = Recorder()
    call = recorder.invoke("a", "cas", 0.0, argument=[1, [2]])
    assert recorder.history()[0].argument == (1, (2,))
    with pytest.raises(RecordInvalid, match="bytes"):
        call.returned(1.0, b"x")
    with pytest.raises(RecordInvalid, match="dict"):
        recorder.invoke("a", "write", 2.0, argument={})


def test_several_recorders_of_one_clock_make_one_history():
    here, there = Recorder(), Recorder()
    here.invoke("a", "write", 1.0)
    there.invoke("b", "write", 0.5)
    here.invoke("a", "read", 2.0)
    told = [(o.number, o.process) for o in merged([here.history(), there.history()])]
    assert told == [(0, "b"), (1, "a"), (2, "a")]


@given(argument=VALUES, result=VALUES, times=st.tuples(st.floats(0, 1e9), st.floats(0, 1e9)))
def test_lines_bring_back_what_was_recorded(argument, result, times):
    recorder = Recorder()
    recorder.invoke("a", "write", times[0], key="k", argument=argument).returned(times[1], result)
    recorder.invoke("b", "read", times[1])
    assert records_of(lines_of(recorder.history()), Operation) == recorder.history()


@pytest.mark.parametrize(
    "record",
    [
        Watch(watcher="w", start="a", since=1, responses=(Response(3, (Change(3, "a", None),)),)),
        Grant(lock="l", holder="a", asked=0.0, acquired=1.0, token=7),
        Access(lock="l", holder="a", token=7, taken=True),
    ],
)
def test_watches_and_locks_are_lines_too(record):
    assert records_of(lines_of([record]), type(record)) == (record,)


def test_a_line_that_is_no_record_is_told_with_its_number():
    lines = lines_of([Access(lock="l", holder="a", token=1, taken=True)]) + b'{"lock": 1}\n'
    with pytest.raises(RecordInvalid, match="line 2 is no Access"):
        records_of(lines, Access)


def test_an_operation_that_cannot_have_been_is_refused_by_hand_and_from_lines():
    with pytest.raises(ValueError, match="what is ok has returned"):
        Operation(number=0, process="a", kind="read", invoked=0.0, outcome="ok")
    line = b'{"number": 0, "process": "a", "kind": "read", "invoked": 2, "returned": 1}'
    with pytest.raises(RecordInvalid, match=r"returned at 1\.0, invoked at 2\.0"):
        records_of(line, Operation)


@pytest.mark.limit("histories.OPERATIONS_MAX")
def test_a_recorder_takes_so_many_operations_and_no_more():
    recorder = Recorder()
    for n in range(OPERATIONS_MAX):
        recorder.invoke("a", "read", n)
    with pytest.raises(HistoryFull):
        recorder.invoke("a", "read", 0.0)
    assert len(recorder.history()) == OPERATIONS_MAX
