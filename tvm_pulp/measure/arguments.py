"""Random arguments of a kernel."""

from __future__ import annotations

import numpy as np

from tvm_pulp.target.tvm_names import PrimFunc, buffer_dtype, buffer_shape

_OPERATORS = (
    "quantized_add",
    "rescaled_add",
    "quantized_multiply",
    "quantized_avg_pool2d",
    "quantized_max_pool2d",
)
"""Operator classes of bytes that may be any, as those of quantised products."""
_QUANTIZED = ("pulp.quantized_conv2d", "pulp.quantized_depthwise", "pulp.quantized_matmul")


def random_arguments(function: PrimFunc, seed: int = 0) -> list[np.ndarray]:
    """Draw an array for each parameter: floats from -1..1, integers from 0..3.

    Bytes of quantised operators, and multipliers of products where those have 15 bits, are any that there
    are. Indices are those of all rows. Variances, and latents from a rectifier, are from 0..1.

    Parameters
    ----------
    function
        A kernel, before or after lowering.
    seed
        Of the generator; equal seeds give equal arrays.
    """
    random = np.random.default_rng(seed)
    arrays = []
    for parameter in function.params:
        shape, dtype = buffer_shape(parameter), buffer_dtype(parameter)
        if dtype.startswith("float"):
            low = 0 if "variance" in str(parameter.name) or _is_rectified(function) else -1
            arrays.append(random.uniform(low, 1, shape).astype(dtype))
        else:
            low, high = _integer_range(function, str(parameter.name), dtype)
            arrays.append(random.integers(low, high, shape).astype(dtype))
    _clear_behind_rows(function, arrays)
    _reduce_biases(function, arrays)
    return arrays


def _integer_range(function: PrimFunc, name: str, dtype: str) -> tuple[int, int]:
    """Return the least integer of a parameter, and the one behind the largest."""
    attributes = function.attrs or {}
    kinds = [attributes[key] for key in _QUANTIZED if key in attributes]
    any_byte = kinds or str(attributes.get("pulp.operator")) in _OPERATORS
    if any_byte and dtype in ("uint8", "int8"):
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max) + 1
    if name == "indices":  # of rows of the tensor in front
        return 0, buffer_shape(function.params[0])[0]
    if name == "requantization" and any(int(kind["short"]) or int(kind["halfword"]) for kind in kinds):
        return 1, 2**15
    return 0, 4


def _reduce_biases(function: PrimFunc, arrays: list[np.ndarray]) -> None:
    """Leave the biases of quantised products at 0..3, so that sums stay in the range of their terms."""
    for parameter, array in zip(function.params, arrays, strict=True):
        if str(parameter.name) == "requantization":
            array.reshape(buffer_shape(parameter))[0] %= 4


def _is_rectified(function: PrimFunc) -> bool:
    """Tell whether a kernel packs latents that are never negative."""
    latents = function.attrs.get("pulp.latents") if function.attrs is not None else None
    return latents is not None and bool(int(latents.get("non_negative", 0)))


def _clear_behind_rows(function: PrimFunc, arrays: list[np.ndarray]) -> None:
    """Put zeros behind the rows of a quantised convolution's weights, which fill whole words."""
    for name in _QUANTIZED[:2]:
        if function.attrs is not None and name in function.attrs and arrays[1].ndim == 3:
            attributes = function.attrs[name]
            dense = name == "pulp.quantized_conv2d"
            channels = arrays[0].shape[-1] // int(attributes["groups"]) if dense else 1
            arrays[1][..., int(attributes["kernel"][1]) * channels :] = 0
