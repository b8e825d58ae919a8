import numpy as np
import pytest
from onnx import helper, numpy_helper

from tests.passes.small_models import random_input
from tests.tvm_pulp.frontends.onnx_models import onnx_model
from tvm_pulp.frontends.onnx_prepare import prepare

WEIGHT = random_input(6, 4, 3, 3)


def prepared(nodes, initializers):
    return prepare(onnx_model(nodes, initializers, ("n", 4, 6, 6)), "net", None, 2).graph


def kinds(graph):
    return [node.op_type for node in graph.node if node.op_type != "Constant"]


def test_shapes_that_are_computed_become_constants():
    """What exporters write for x.reshape(x.shape[0], -1)."""
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Shape", ["r"], ["shape"]),
        helper.make_node("Constant", [], ["zero"], value_int=0),
        helper.make_node("Gather", ["shape", "zero"], ["n"], axis=0),
        helper.make_node("Constant", [], ["axes"], value_ints=[0]),
        helper.make_node("Unsqueeze", ["n", "axes"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["r", "target"], ["f"]),
        helper.make_node("Shape", ["f"], ["shape_f"]),
        helper.make_node("Reshape", ["f", "shape_f"], ["g"]),
        helper.make_node("MatMul", ["g", "w"], ["y"]),
    ]
    values = {"rest": np.array([-1], np.int64), "w": random_input(144, 5)}
    graph = prepared(nodes, values)
    assert kinds(graph) == ["Relu", "Reshape", "Reshape", "MatMul"]
    constants = {n.output[0]: numpy_helper.to_array(n.attribute[0].t) for n in graph.node if not n.input}
    assert [list(value) for value in constants.values()] == [[2, -1], [2, 144]]
    assert [tensor.name for tensor in graph.initializer] == ["w"]


def test_initialisers_that_nothing_reads_go():
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    graph = prepared(nodes, {"w": WEIGHT, "unused": random_input(3)})
    assert [tensor.name for tensor in graph.initializer] == ["w"]


@pytest.mark.parametrize("kind,inputs", [("Size", ["x"]), ("CastLike", ["c", "x"])])
def test_what_reads_only_the_shape_or_type_of_an_input_is_computed(kind, inputs):
    nodes = [
        helper.make_node("Constant", [], ["c"], value_int=288),
        helper.make_node(kind, inputs, ["s"]),
        helper.make_node("Cast", ["s"], ["f"], to=1),
        helper.make_node("Mul", ["x", "f"], ["y"]),
    ]
    graph = prepared(nodes, {})
    assert kinds(graph) == ["Mul"]
    assert numpy_helper.to_array(graph.node[0].attribute[0].t) == 288


def test_float_initialisers_and_random_numbers_are_not_computed():
    nodes = [
        helper.make_node("Mul", ["w", "w"], ["ww"]),
        helper.make_node("RandomNormal", [], ["r"], shape=[6]),
        helper.make_node("Add", ["ww", "r"], ["s"]),
        helper.make_node("Add", ["x", "s"], ["y"]),
    ]
    assert kinds(prepared(nodes, {"w": random_input(6)})) == ["Mul", "RandomNormal", "Add", "Add"]
