import numpy as np
import pytest

from tvm_pulp.calibration.calibrators import calibrator
from tvm_pulp.calibration.histogram import Histogram
from tvm_pulp.target.errors import UserError


def histogram_of(values):
    histogram = Histogram()
    histogram.add(np.asarray(values, np.float32))
    return histogram


def mean_square_error(values, low, high):
    step = (high - low) / 255
    return np.mean((values - (np.rint((np.clip(values, low, high) - low) / step) * step + low)) ** 2)


def test_min_max_covers_everything():
    assert calibrator("min-max")(histogram_of([-3, 0.5, 7])) == (-3, 7)


def test_percentile_leaves_out_the_tails():
    values = np.random.default_rng(0).standard_normal(100_000)
    low, high = calibrator("percentile:99")(histogram_of(values))
    np.testing.assert_allclose([low, high], np.quantile(values, [0.01, 0.99]), atol=0.01)
    assert calibrator("percentile:99")(histogram_of(np.abs(values)))[0] == 0, "nothing below 0 to leave out"


def test_mse_clips_outliers_and_keeps_a_uniform_range():
    generator = np.random.default_rng(0)
    uniform = generator.uniform(0, 1, 100_000)
    assert calibrator("mse")(histogram_of(uniform))[1] == pytest.approx(1, abs=0.02)
    outliers = np.append(generator.standard_normal(100_000), [60.0, -50.0])
    low, high = calibrator("mse")(histogram_of(outliers))
    assert low > -50 and high < 60
    least = min(mean_square_error(outliers, -50 * share, 60 * share) for share in np.linspace(0.02, 1, 50))
    assert mean_square_error(outliers, low, high) < 1.05 * least


@pytest.mark.parametrize("name", ["max", "percentile:40", "percentile:x", "percentile:101", "mse:3"])
def test_unknown_calibrators(name):
    with pytest.raises(UserError, match=f"calibrator '{name}'"):
        calibrator(name)
