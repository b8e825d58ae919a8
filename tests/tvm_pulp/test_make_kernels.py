from tvm import IRModule

from tests.schedules.matmul_functions import matmul_function
from tvm_pulp.make_kernels import alike, make_kernels
from tvm_pulp.passes.operators.quantized_elementwise import quantize
from tvm_pulp.target import features, parse


def functions():
    made = {
        "one": matmul_function(8, 8, 8),
        "two": matmul_function(8, 8, 12),
        "three": matmul_function(8, 8, 8),
    }
    return {
        name: function.with_attrs({"global_symbol": name, "pulp.layer": f"layer.{name}"})
        for name, function in made.items()
    }


def test_layers_of_one_shape_are_alike():
    assert alike(functions()) == [["one", "three"], ["two"]]


def test_every_kernel_keeps_its_own_name_and_layer():
    seen = []
    kernels = make_kernels(IRModule(functions()), features(parse("pulp")), lambda: seen.append(1))
    assert sorted(kernels) == ["one", "three", "two"]
    assert len(seen) == 3
    for name, kernel in kernels.items():
        assert (kernel.name, kernel.layer) == (name, f"layer.{name}")
        assert f"void {name}(" in kernel.source and f"layer.{name}" in kernel.source
        assert 0 < kernel.l1_bytes <= features(parse("pulp")).kernel_l1_bytes
    renamed = kernels["one"].source
    for old, new in (("layer.one", "layer.three"), ("void one(", "void three("), ("/* one:", "/* three:")):
        renamed = renamed.replace(old, new)
    assert renamed == kernels["three"].source
    assert (kernels["one"].macs, kernels["two"].macs) == (512, 768)


def test_a_kernel_without_a_form_for_l1_works_on_tensors_in_l2():
    """Images of three channels become bytes tile by tile; loops over elements have no float64."""
    function = quantize("x", "quantize", (2, 3, 12, 12), (0, 2, 3, 1), 0.02, 3)
    kernels = make_kernels(IRModule({"x_quantize": function}), features(parse("pulp")))
    assert kernels["x_quantize"].in_l1 is None
