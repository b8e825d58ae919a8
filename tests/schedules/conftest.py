"""The target of most tests, a folder of compiled kernels, and golden files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tvm_pulp.target import Features, features, parse

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def chip() -> Features:
    return features(parse("pulp"))


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the kernels compiled for the host."""
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with a golden file; ``--update-golden`` writes it."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            GOLDEN.mkdir(exist_ok=True)
            path.write_text(text)
        assert path.exists(), f"{path} is missing: run pytest --update-golden"
        assert text == path.read_text(), f"{name} has changed: look at it, then run pytest --update-golden"

    return compare
