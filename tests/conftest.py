"""Tests import the examples and one another's helpers from the checkout."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.append(str(Path(__file__).resolve().parents[1]))

if "PYTEST_XDIST_WORKER" in os.environ:
    # there is a worker a processor: libraries that take all of them would only get into each other's way
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine must not fail a property, and the same commit must give the same verdict each time: examples
# are derived from the test itself. `pytest --hypothesis-profile search` looks for new ones.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("search", settings.get_profile("repeatable"), derandomize=False)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run renew the golden files."""
    parser.addoption(
        "--update-golden", action="store_true", help="write the golden files instead of comparing"
    )
