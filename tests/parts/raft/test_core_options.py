"""What may be set, and what can't work is refused."""

import pytest

from bastide.parts.raft.contract import (
    APPEND_BYTES_MAX,
    APPENDS_OUT_MAX,
    CHUNK_BYTES_MAX,
    KEPT_BEHIND_MAX,
    PROPOSED_BYTES_MAX,
    PROPOSED_MAX,
    READS_MAX,
    OptionInvalid,
    Options,
)


@pytest.mark.limit("raft.CHUNK_BYTES_MAX")
@pytest.mark.limit("raft.KEPT_BEHIND_MAX")
@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("append_bytes_max", APPEND_BYTES_MAX),
        ("appends_out_max", APPENDS_OUT_MAX),
        ("proposed_bytes_max", PROPOSED_BYTES_MAX),
        ("proposed_max", PROPOSED_MAX),
        ("reads_max", READS_MAX),
        ("chunk_bytes", CHUNK_BYTES_MAX),
        ("kept_behind", KEPT_BEHIND_MAX),
    ],
)
def test_a_limit_may_be_lowered_and_not_raised(name, most):
    assert getattr(Options(**{name: most}), name) == most
    for wrong in (-1, most + 1):
        with pytest.raises(OptionInvalid, match=name):
            Options(**{name: wrong})


@pytest.mark.parametrize("heartbeat_s", [0.0, -1.0, 0.51])
def test_an_election_time_holds_two_heartbeats(heartbeat_s):
    assert Options(heartbeat_s=0.5).heartbeat_s == 0.5
    with pytest.raises(OptionInvalid, match="heartbeat"):
        Options(heartbeat_s=heartbeat_s)


@pytest.mark.parametrize("drift", [-0.01, 0.51])
def test_clocks_that_drift_apart_too_far_are_none(drift):
    assert Options(lease_drift=None).lease_drift is None
    assert Options(lease_drift=0.5).lease_drift == 0.5
    with pytest.raises(OptionInvalid, match="lease_drift"):
        Options(lease_drift=drift)
