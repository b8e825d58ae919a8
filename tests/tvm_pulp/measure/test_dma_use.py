import json

import pytest

from tvm_pulp.measure.dma_use import read_dma_use


def event(name, category, track, begin, end, **more):
    details = {"cycle": begin, "cycles": end - begin, **more}
    return {"ph": "X", "name": name, "cat": category, "pid": 1, "tid": track, "args": details}


def test_cycles_and_bytes_of_a_stretch(tmp_path):
    """Two workers; transfers from 100 to 160 (overlaps count once), and from 190 to 200, the end."""
    events = [
        event("L2 to L1", "dma", 100, 0, 90, bytes=1000),  # before the stretch
        event("L2 to L1", "dma", 100, 100, 140, bytes=256),
        event("L2 to L1", "dma", 101, 120, 160, bytes=64),
        event("L1 to L2", "dma", 102, 190, 210, bytes=32),
        event("kernel", "code", 0, 90, 150),
        event("barrier", "wait", 0, 150, 200),
        event("kernel", "code", 1, 110, 200),
        event("kernel", "code", 8, 100, 200),  # no worker
    ]
    trace = tmp_path / "trace.json"
    lines = ",\n".join(json.dumps(e, separators=(",", ":")) for e in events)
    trace.write_text('{"displayTimeUnit":"ns","traceEvents":[\n' + lines + "\n]}\n")
    use = read_dma_use(trace, 100, 200, workers=2)
    assert (use.bytes_in, use.bytes_out) == (320, 32)
    assert use.busy == pytest.approx(0.7)
    # worker 0: 100 to 150; worker 1: 110 to 160 and 190 to 200
    assert use.overlap == pytest.approx((50 + 50 + 10) / 2 / 100)
