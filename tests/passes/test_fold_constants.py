import numpy as np
from tvm import relax

from tests.passes.small_models import build_model, operators, random_input, run
from tvm_pulp.passes.fold_constants import fold_constants


def test_what_depends_on_constants_alone_is_computed_and_parameters_are_not():
    def body(builder, x, w):
        three = builder.emit(relax.op.add(relax.const(np.float32(1)), relax.const(np.float32(2))))
        scale = builder.emit(relax.op.multiply(w, relax.const(np.float32(2))))
        return relax.op.add(builder.emit(relax.op.multiply(x, scale)), three)

    model = build_model(body, parameters={"w": random_input(6)})
    after = fold_constants(model)
    assert operators(after) == ["multiply", "multiply", "add"]
    x = random_input(2, 4, 6, 6)
    np.testing.assert_array_equal(run(after, x), run(model, x))
