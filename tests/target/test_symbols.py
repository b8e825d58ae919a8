import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_pulp.target.errors import UserError
from tvm_pulp.target.plan import Buffer
from tvm_pulp.target.symbols import check_model_name, mangle, symbol_of, symbol_table


def _buffer(name: str, kind: str) -> Buffer:
    return Buffer(name, kind, "L2", None, 4, (1,), "float32", 0, 0)


@pytest.mark.parametrize(
    "name, kind, symbol",
    [
        ("x", "input", "net_input_x"),
        ("labels", "labels", "net_labels"),
        ("loss", "loss", "net_loss"),
        ("0", "output", "net_output_0"),
        ("input", "input", "net_input_input"),
        ("features.0.running_mean", "parameter", "net_parameter_features__0__running_mean"),
        ("momentum:features.0.weight", "state", "net_state_momentum_features__0__weight"),
    ],
)
def test_readable_symbols(name, kind, symbol):
    assert symbol_of("net", _buffer(name, kind)) == symbol


@given(st.lists(st.text("ab01._:/ é", min_size=1, max_size=7), min_size=2, max_size=40, unique=True))
def test_different_names_have_different_symbols(names):
    mangled = [mangle(name) for name in names]
    assert len(set(mangled)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_]+", text) for text in mangled)


def test_a_name_cannot_pretend_to_be_another_ones_checksum():
    assert mangle(mangle("a/b")) != mangle("a/b")


def test_the_table_leads_back():
    buffers = [_buffer("a.b", "parameter"), _buffer("a_b", "parameter"), _buffer("momentum:a.b", "state")]
    table = symbol_table("net", buffers)
    assert list(table.values()) == ["a.b", "a_b", "momentum:a.b"]


def test_clashing_symbols_are_refused(monkeypatch):
    monkeypatch.setattr("tvm_pulp.target.symbols.mangle", lambda name: "same")
    with pytest.raises(UserError, match='"b" and "a" both become net_parameter_same'):
        symbol_table("net", [_buffer("a", "parameter"), _buffer("b", "parameter")])


@pytest.mark.parametrize("name", ["", "1net", "a-b", "a b", "int", "main", "_net", "né"])
def test_module_names_that_c_does_not_allow(name):
    with pytest.raises(UserError, match="is not a C identifier"):
        check_model_name(name)


def test_module_names_that_c_allows():
    check_model_name("mobilenet_v1")
