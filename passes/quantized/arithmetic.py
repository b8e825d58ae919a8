"""How an integer graph rounds: as networks that are quantised here do, or as the framework they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tvm_pulp.passes.operators.choose_multipliers import CONVOLUTION, choose_multipliers
from tvm_pulp.passes.operators.requantize import Requantization, Rounding
from tvm_pulp.passes.quantized.graph import QuantizedTensor
from tvm_pulp.target.errors import UserError


@dataclass(frozen=True)
class Arithmetic:
    """Rounding, and how exact multipliers are.

    Attributes
    ----------
    rounding : Rounding
        `HALF_UP` or `HALF_EVEN`.
    accuracy : float
        Largest error of a result that narrow multipliers may add, see `choose_multipliers`.
    dtype : type
        What tables are computed in.
    """

    rounding: Rounding
    accuracy: float
    dtype: type[np.floating]

    def requantization(
        self,
        layer: str,
        ratios: np.ndarray,
        largest: np.ndarray,
        output: QuantizedTensor,
        low: int = 0,
        high: int = 255,
        forms: Sequence[str] = CONVOLUTION,
    ) -> tuple[np.ndarray, Requantization]:
        """Choose a layer's requantisation, see `choose_multipliers`; its name goes before a message."""
        try:
            return choose_multipliers(
                ratios,
                largest,
                zero_point=output.zero_point,
                low=low,
                high=high,
                accuracy=self.accuracy,
                rounding=self.rounding,
                forms=forms,
            )
        except UserError as error:
            raise UserError(f"layer {layer}: {error}") from error

    def table(self, values: np.ndarray, output: QuantizedTensor) -> np.ndarray:
        """Quantise the 256 values of a function to the table of a `Lookup`."""
        scaled = values / values.dtype.type(output.scale)
        rounded = np.rint(scaled) if self.rounding is Rounding.HALF_EVEN else np.floor(scaled + 0.5)
        return np.clip(rounded + output.zero_point, 0, 255).astype(np.uint8)


OURS = Arithmetic(Rounding.HALF_UP, 1 / 16, np.float64)
"""Of networks that are quantised here: the fastest."""
ONNX = Arithmetic(Rounding.HALF_EVEN, 2.0**-12, np.float32)
"""Of networks that ONNX or PyTorch quantised: as near to their float scales as 32 bits go."""
