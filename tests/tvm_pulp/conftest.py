import pytest

from tests.tvm_pulp import examples_of_metadata


@pytest.fixture
def metadata():
    return examples_of_metadata.metadata()
