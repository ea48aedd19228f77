"""The workloads of `bastide bench raft` run, and their figures are figures."""

from bastide.parts.raft import bench


async def test_a_group_of_one_is_measured_beside_a_bare_log(tmp_path):
    figures = await bench.bench_alone(tmp_path, 0.2)
    assert figures["alone_us_p50"] > figures["alone_added_us_p50"]
    assert figures["alone_proposals_per_s"] > 100
    assert figures["alone_read_us_p50"] > 0


async def test_three_processes_find_a_leader_and_are_measured(tmp_path):
    figures = await bench.bench_three(tmp_path, 0.2)
    assert figures["three_proposals_per_s"] > 100
    assert figures["three_us_p50"] > 0


def test_there_are_no_other_workloads():
    assert [each.run for each in bench.BENCHES] == [bench.bench_alone, bench.bench_three]
