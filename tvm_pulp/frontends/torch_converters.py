"""TVM's importer of exported programs, told to name what it emits and to import batch norm whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from tvm import relax
from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

from tvm_pulp.frontends.torch_program import layer_of_node, operator_of_node
from tvm_pulp.target.errors import UserError


class Importer(ExportedProgramImporter):
    """TVM's importer, told to name what it emits after the model and to import batch norm whole."""

    def __init__(self, model_name: str) -> None:
        self.model_name = model_name
        self.names: dict[relax.Var, str] = {}
        self.results: dict[str, tuple[relax.Var, str]] = {}
        self.current = ""
        super().__init__()
        self.convert_map: dict[str, Any] = {
            key: self._named(convert) for key, convert in self.create_convert_map().items()
        }

    def create_convert_map(self) -> dict[str, Any]:
        """Add to TVM's map what it lacks or drops."""
        return {
            **super().create_convert_map(),
            "_native_batch_norm_legit_functional.default": lambda node: self._batch_norm(node, 6),
            "_native_batch_norm_legit.no_stats": self._refuse_batch_statistics,
            "_native_batch_norm_legit.default": lambda node: self._batch_norm(node, 6),
            "_native_batch_norm_legit_no_training.default": lambda node: self._batch_norm(node, 5),
            "batch_norm.default": lambda node: self._batch_norm(node, 6)[0],
            "avg_pool2d.default": self._average_pool,
            "quantize_per_tensor.default": self._quantize,
            "dequantize_per_tensor.default": self._dequantize,
        }

    def _named(self, convert: Any) -> Any:
        def convert_and_name(node: torch.fx.Node) -> Any:
            self.current = f"{operator_of_node(node)} in layer '{layer_of_node(node)}'"
            result = convert(node)
            if isinstance(result, relax.Var) and result not in self.names:
                layer = layer_of_node(node)
                if layer in self.results:  # the layer's name goes to its last operator
                    earlier, operator = self.results[layer]
                    self.names[earlier] = f"{layer}.{operator}"
                self.names[result] = layer
                self.results[layer] = result, operator_of_node(node)
            return result

        return convert_and_name

    def _batch_norm(self, node: torch.fx.Node, momentum_at: int) -> relax.Tuple:
        """All forms of batch norm; whether it trains is not the exporter's matter but decided later."""
        data = self.env[node.args[0]]
        scale, offset, mean, variance = (None if a is None else self.env[a] for a in node.args[1:5])
        if mean is None or variance is None:
            self._refuse_batch_statistics(node)
        channels = int(data.ty.shape[1])
        ones = relax.const(np.ones(channels, "float32"))
        zeros = relax.const(np.zeros(channels, "float32"))
        result = self.block_builder.emit(
            relax.op.nn.batch_norm(
                data,
                ones if scale is None else scale,
                zeros if offset is None else offset,
                mean,
                variance,
                axis=1,
                epsilon=node.args[momentum_at + 1],
                scale=scale is not None,
                center=offset is not None,
                momentum=node.args[momentum_at],
                training=False,
            )
        )
        output = self.block_builder.emit(relax.TupleGetItem(result, 0))
        self.names[result] = layer_of_node(node)
        self.names[output] = layer_of_node(node) + ".output"
        # New running statistics are returned for a node that updates buffers, which nothing reads here.
        return relax.Tuple([output, mean, variance, mean, variance])

    def _refuse_batch_statistics(self, node: torch.fx.Node) -> None:
        raise UserError(
            f"{self.model_name}: layer '{layer_of_node(node)}' normalises without running statistics, which "
            "is not "
            "supported: use a batch norm with track_running_stats=True"
        )

    def _average_pool(self, node: torch.fx.Node) -> relax.Var:
        divisor = node.args[6] if len(node.args) > 6 else node.kwargs.get("divisor_override")
        if divisor is not None:
            raise UserError(
                f"{self.model_name}: layer '{layer_of_node(node)}' (avg_pool2d) sets divisor_override, "
                "which is not supported: scale the result instead"
            )
        return self._avg_pool2d(node)

    def _quantize(self, node: torch.fx.Node) -> relax.Var:
        """A quantisation to int8 or uint8; of a narrower range it is one after a clip."""
        source, scale, zero_point, low, high, dtype = node.args
        constants, name = self._quantization(node, scale, zero_point, dtype)
        value = self.env[source]
        limits = torch.iinfo(dtype)
        if (low, high) != (limits.min, limits.max):
            if source.op == "placeholder":  # becomes bytes first, as only those are clipped
                value = self.block_builder.emit(relax.op.quantize(value, *constants, axis=-1, out_dtype=name))
                value = self.block_builder.emit(
                    relax.op.dequantize(value, *constants, axis=-1, out_dtype="float32")
                )
            bounds = ((bound - zero_point) * scale for bound in (low, high))
            value = self.block_builder.emit(relax.op.clip(value, *bounds))
        return self.block_builder.emit(relax.op.quantize(value, *constants, axis=-1, out_dtype=name))

    def _dequantize(self, node: torch.fx.Node) -> relax.Var:
        source, scale, zero_point, _, _, dtype = node.args
        constants, _ = self._quantization(node, scale, zero_point, dtype)
        value = relax.op.dequantize(self.env[source], *constants, axis=-1, out_dtype="float32")
        return self.block_builder.emit(value)

    def _quantization(
        self, node: torch.fx.Node, scale: float, zero_point: int, dtype: torch.dtype
    ) -> tuple[tuple[relax.Expr, relax.Expr], str]:
        name = str(dtype).removeprefix("torch.")
        if name not in ("int8", "uint8"):
            raise UserError(
                f"{self.model_name}: layer '{layer_of_node(node)}' is quantised to {name}: int8 or uint8 is "
                "needed"
            )
        return (relax.const(np.float32(scale)), relax.const(np.array(zero_point, name))), name

    def _check_unsupported_func_type(self, nodes: list[torch.fx.Node]) -> None:
        for node in nodes:
            if node.op == "call_function" and node.target.__name__ not in self.convert_map:
                raise UserError(
                    f"{self.model_name}: operator {operator_of_node(node)} in layer '{layer_of_node(node)}' "
                    "is not "
                    "supported"
                )
