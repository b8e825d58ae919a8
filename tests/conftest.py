"""Tests import the examples and one another's helpers from the checkout."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
