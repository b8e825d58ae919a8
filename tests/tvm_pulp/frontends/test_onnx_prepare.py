import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.passes.small_models import random_input
from tests.tvm_pulp.frontends.onnx_models import onnx_model
from tvm_pulp.frontends.onnx_prepare import layer_name, prepare
from tvm_pulp.target.errors import UserError

WEIGHT = random_input(6, 4, 3, 3)


def prepared(nodes, initializers, shape=("n", 4, 6, 6), **keywords):
    return prepare(onnx_model(nodes, initializers, shape, **keywords), "net", None, 2).graph


def kinds(graph):
    return [node.op_type for node in graph.node if node.op_type != "Constant"]


def test_settings_are_no_parameters_even_if_a_layer_reads_the_same_initialiser():
    nodes = [
        helper.make_node("Clip", ["x", "zero", "six"], ["c"]),
        helper.make_node("Add", ["c", "six"], ["y"]),
    ]
    graph = prepared(nodes, {"zero": np.float32(0), "six": np.float32(6)})
    assert [tensor.name for tensor in graph.initializer] == ["six"]
    assert all(name.startswith(("zero.", "six.")) for name in list(graph.node)[-2].input[1:])


def test_weights_that_are_written_as_constants_are_parameters():
    nodes = [
        helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(WEIGHT)),
        helper.make_node("Constant", [], ["b"], value=numpy_helper.from_array(random_input(6))),
        helper.make_node("Conv", ["x", "w", "b"], ["y"]),
    ]
    assert {tensor.name for tensor in prepared(nodes, {}).initializer} == {"w", "b"}


def test_a_bias_of_zeros_that_is_no_initialiser_is_dropped():
    nodes = [
        helper.make_node("Constant", [], ["b"], value=numpy_helper.from_array(np.zeros(6, np.float32))),
        helper.make_node("Conv", ["x", "w", "b"], ["y"]),
    ]
    graph = prepared(nodes, {"w": WEIGHT})
    assert [tensor.name for tensor in graph.initializer] == ["w"]
    assert list(graph.node)[-1].input[2] == ""


def test_products_with_random_masks_are_dropouts_and_go():
    """What torch's dynamo exporter writes for a dropout in place in training mode."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("RandomUniformLike", ["c"], ["r"]),
        helper.make_node("Constant", [], ["half"], value_float=0.5),
        helper.make_node("Less", ["r", "half"], ["l"]),
        helper.make_node("Cast", ["l"], ["m"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Div", ["m", "half"], ["d"]),
        helper.make_node("Mul", ["c", "d"], ["p"]),
        helper.make_node("Relu", ["p"], ["y"]),
    ]
    assert kinds(prepared(nodes, {"w": WEIGHT})) == ["Conv", "Relu"]
    nodes[-1] = helper.make_node("Add", ["p", "r"], ["y"])
    assert "RandomUniformLike" in kinds(prepared(nodes, {"w": WEIGHT}))


def test_initialisers_that_are_listed_as_inputs_are_no_inputs():
    model = onnx_model([helper.make_node("Conv", ["x", "w"], ["y"])], {"w": WEIGHT}, ("n", 4, 6, 6))
    model.graph.input.append(helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, WEIGHT.shape))
    graph = prepare(model, "net", None, 2).graph
    assert [value.name for value in graph.input] == ["x"]


def test_local_functions_are_inlined():
    function = helper.make_function(
        "local",
        "Twice",
        ["a"],
        ["b"],
        [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )
    model = onnx_model([helper.make_node("Conv", ["x", "w"], ["y"])], {"w": WEIGHT}, ("n", 4, 6, 6))
    model.graph.node.append(helper.make_node("Twice", ["y"], ["z"], domain="local"))
    model.graph.output[0].name = "z"
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("local", 1))
    before = model.SerializeToString()
    assert kinds(prepare(model, "net", None, 2).graph) == ["Conv", "Add"]
    assert model.SerializeToString() == before


@pytest.mark.parametrize(
    "name,expected",
    [
        ("/stem/conv/Conv", "stem.conv"),
        ("/blocks/blocks.0/conv/Conv", "blocks.0.conv"),
        ("/features/features.1/features.1.0/Conv", "features.1.0"),
        ("/Relu", "Relu"),
        ("/Relu_1", "Relu_1"),
        ("my node", "my node"),
        ("", "y"),
    ],
)
def test_layers_by_the_names_of_nodes(name, expected):
    assert layer_name(helper.make_node("Conv", ["x"], ["y"], name=name)) == expected


def test_layers_by_the_scopes_of_torch():
    node = helper.make_node("Conv", ["x"], ["y"], name="node_conv2d")
    node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value="['', 'block', 'block.conv', 'conv2d']")
    assert layer_name(node) == "block.conv"
    node.metadata_props[0].value = "['', 'conv2d']"
    assert layer_name(node) == "node_conv2d"


def test_initialisers_that_torch_computed_are_named_after_their_layers():
    nodes = [
        helper.make_node("Conv", ["x", "onnx::Conv_1", "onnx::Conv_2"], ["c"], name="/stem/conv/Conv"),
        helper.make_node("MatMul", ["c", "onnx::MatMul_3"], ["y"], name="/fc/MatMul"),
    ]
    values = {"onnx::Conv_1": WEIGHT, "onnx::Conv_2": random_input(6), "onnx::MatMul_3": random_input(4, 3)}
    names = [tensor.name for tensor in prepared(nodes, values).initializer]
    assert names == ["stem.conv.weight", "stem.conv.bias", "fc.weight"]


def relu(kind="Relu", **attributes):
    return helper.make_node(kind, ["x"], ["y"], name="act", **attributes)


@pytest.mark.parametrize(
    "model,message",
    [
        (
            onnx_model([relu("Gelu", domain="com.acme")], {}),
            "operator Gelu of domain com.acme in layer 'act'",
        ),
        (onnx_model([], {}), "the ONNX graph is empty"),
        (onnx_model([relu()], {}, ("n", 3, "h")), "axis 2 of input 'x' is dynamic"),
        (onnx_model([relu("NoSuchOperator")], {}), "not a valid ONNX model"),
        (
            onnx_model(
                [helper.make_node("Add", ["x", "w"], ["y"])], {"w": random_input(6).astype(np.float64)}
            ),
            "parameter 'w' is of type double: only float32",
        ),
    ],
)
def test_what_cannot_be_imported_is_refused(model, message):
    if message.startswith("operator Gelu"):
        model.opset_import.append(helper.make_opsetid("com.acme", 1))
    with pytest.raises(UserError) as caught:
        prepare(model, "net", None, 1)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_an_input_of_another_type_is_refused():
    model = onnx_model([relu()], {})
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    with pytest.raises(UserError, match="input 'x' is of type uint8: only float32"):
        prepare(model, "net", None, 1)


def test_an_input_without_a_shape_needs_one():
    model = onnx_model([relu()], {})
    model.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(UserError, match="input 'x' has no shape: give it by input_shapes"):
        prepare(model, "net", None, 1)
    graph = prepare(model, "net", {"x": [1, 3, 4]}, 2).graph
    assert [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == [2, 3, 4]
