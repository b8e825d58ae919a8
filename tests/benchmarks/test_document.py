from benchmarks.document import PARTS, as_markdown, as_text

KERNEL = {
    "kernel": "matmul:m=8,n=8,k=8",
    "schedule": "matmul",
    "macs": 512,
    "cycles": {"mean": 256.0, "min": 250, "max": 262},
    "mac_per_cycle": 2.0,
    "bound": {"cycles": 128.0, "compute_cycles": 128.0, "dma_cycles": 64.0, "fraction": 0.5},
    "dma": {"bytes_in": 512, "bytes_out": 256, "busy": 0.5, "overlap": 0.25},
    "largest_error": 1e-7,
    "naive_cycles": 1024.0,
}
ROW = {
    "layer": "pw",
    "shape": "8x8x2x2",
    "step": "FW",
    "work": 256,
    "trainlib_cycles": 200.0,
    "trainlib_right": False,
    "kernel": "conv2d",
    "cycles": 100.0,
    "schedule": "matmul",
    "note": "",
}


def test_markdown():
    text = as_markdown({"kernels": [KERNEL], "trainlib": [ROW, {**ROW, "cycles": None, "schedule": None}]})
    lines = text.splitlines()
    assert (
        "| matmul:m=8,n=8,k=8 | matmul | 512 | 256 | 2.00 | 512 | 256 | 128 | 50% | 25% | 1024 | 4.00x |"
        in lines
    )
    assert "| pw 8x8x2x2 FW | 200 (wrong) | 1.28 | 100 | 2.56 | 2.00x | matmul |" in lines
    assert "| pw 8x8x2x2 FW | 200 (wrong) | 1.28 | - | - | - |  |" in lines
    assert "**L1 is raised to" in text
    rules = [line for line in lines if line.startswith("|---")]
    assert [rule.count("-|") + rule.count(":|") for rule in rules] == [12, 7]


def test_text_has_a_header_and_a_line_a_record():
    lines = as_text("kernels", [KERNEL, KERNEL]).splitlines()
    assert lines[0] == "Kernels"
    assert len(lines) == 5


def test_every_part_tells_what_it_shows():
    assert all(title and text and columns for title, text, columns in PARTS.values())
    assert "L2 is raised" in PARTS["nets"][1]
