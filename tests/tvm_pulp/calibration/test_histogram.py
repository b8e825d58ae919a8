import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tvm_pulp.calibration.histogram import Histogram

FLOATS = st.floats(-1e6, 1e6, width=32)


@given(st.lists(arrays(np.float32, st.integers(1, 50), elements=FLOATS), min_size=1, max_size=5))
def test_every_value_is_counted_and_the_extremes_are_exact(parts):
    histogram = Histogram()
    for part in parts:
        histogram.add(part)
    values = np.concatenate(parts)
    assert histogram.counts.sum() == values.size
    assert (histogram.low, histogram.high) == (values.min(), values.max())


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_quantiles_of_a_stream_that_grows(share):
    generator = np.random.default_rng(0)
    parts = [generator.standard_normal(1000).astype(np.float32) * scale for scale in (0.1, 1, 30)]
    histogram = Histogram()
    for part in parts:
        histogram.add(part)
    below = np.mean(np.concatenate(parts) <= histogram.quantile(share))
    assert abs(below - share) < 0.005


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    histogram = Histogram()
    with pytest.raises(ValueError, match="not finite"):
        histogram.add(np.array([0, bad], np.float32))
    assert histogram.counts.sum() == 0
