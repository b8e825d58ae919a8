import dataclasses

import numpy as np
import torch

from tests.passes.quantized.networks import Varied
from tvm_pulp.frontends import load_model
from tvm_pulp.oracle.integer import run_integer
from tvm_pulp.package.integer_graph import read_integer_graph, write_integer_graph
from tvm_pulp.quantization import Quantization, integer_network


def test_a_graph_is_read_as_it_was_written(tmp_path):
    torch.manual_seed(0)
    model = load_model(torch.export.export(Varied().eval(), (torch.zeros(1, 3, 8, 8),)))
    x = np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype(np.float32)
    _, graph = integer_network(model, Quantization({model.inputs[0]: x}))
    write_integer_graph(tmp_path, graph)
    again = read_integer_graph(tmp_path)
    assert [type(operator) for operator in again.operators] == [type(o) for o in graph.operators]
    for operator, like in zip(again.operators, graph.operators, strict=True):
        for field in dataclasses.fields(like):
            value, expected = getattr(operator, field.name), getattr(like, field.name)
            if isinstance(expected, np.ndarray):
                np.testing.assert_array_equal(value, expected)
                assert value.dtype == expected.dtype
            else:
                assert value == expected
    values, expected = (run_integer(one, {model.inputs[0]: x}) for one in (again, graph))
    assert list(values) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(values[name], value)
