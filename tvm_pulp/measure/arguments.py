"""Random arguments of a kernel."""

from __future__ import annotations

import numpy as np

from tvm_pulp.target.tvm_names import PrimFunc, buffer_dtype, buffer_shape


def random_arguments(function: PrimFunc, seed: int = 0) -> list[np.ndarray]:
    """Draw an array for each parameter: floats from -1..1, integers from 0..3.

    Variances, and latents from a rectifier, are from 0..1.

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
            arrays.append(random.integers(0, 4, shape).astype(dtype))
    _clear_behind_rows(function, arrays)
    return arrays


def _is_rectified(function: PrimFunc) -> bool:
    """Tell whether a kernel packs latents that are never negative."""
    latents = function.attrs.get("pulp.latents") if function.attrs is not None else None
    return latents is not None and bool(int(latents.get("non_negative", 0)))


def _clear_behind_rows(function: PrimFunc, arrays: list[np.ndarray]) -> None:
    """Put zeros behind the rows of a quantised convolution's weights, which fill whole words."""
    for name in ("pulp.quantized_conv2d", "pulp.quantized_depthwise"):
        if function.attrs is not None and name in function.attrs and arrays[1].ndim == 3:
            channels = arrays[0].shape[-1] if name == "pulp.quantized_conv2d" else 1
            arrays[1][..., int(function.attrs[name]["kernel"][1]) * channels :] = 0
