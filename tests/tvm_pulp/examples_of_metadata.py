"""Metadata of a made-up package, for tests that need no compiler."""

from tvm_pulp.package.metadata import KernelCall, Metadata, Tensor


def metadata(**changes) -> Metadata:
    fields = dict(
        name="network",
        target="pulp",
        train={"loss": "cross-entropy"},
        trainable=("fc.weight",),
        batch=4,
        micro_batch=4,
        inference_batch=1,
        classes=3,
        functions={"train_step": (KernelCall("fc_forward", "fc", 120), KernelCall("fc_update", "fc", 0))},
        tensors=(
            Tensor("x", "input", "network_input_x", (4, 2, 5), "float32"),
            Tensor("labels", "labels", "network_labels", (4,), "int32"),
            Tensor("loss", "loss", "network_loss", (1,), "float32"),
            Tensor("0", "output", "network_output_0", (4, 3), "float32"),
            Tensor("fc.weight", "parameter", "network_parameter_fc_weight", (3, 10), "float32"),
        ),
        memory={"arena": 100, "named": 200, "l1": 300},
        arenas={"train_step": 100},
        simulator={},
        elf="codegen/host/lib/network.elf",
    )
    return Metadata(**{**fields, **changes})
