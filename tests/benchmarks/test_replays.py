from benchmarks.replays import measure_replays


def test_a_stored_sample_is_cheaper_than_a_new_one():
    record = measure_replays(6, size=32)
    assert record["bytes_a_sample"] == 128 * 2 * 2 * 6 // 8
    assert 0 < record["replay_cycles"] < record["cycles"] < record["all_new_cycles"]
