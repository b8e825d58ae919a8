import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import examples_of_metadata


@pytest.fixture
def metadata():
    return examples_of_metadata.metadata()
