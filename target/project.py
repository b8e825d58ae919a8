"""Write a compiled network as a C project: sources, headers, parameters, runtime, Makefile."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import numpy as np

from tvm_pulp.target.features import Features
from tvm_pulp.target.plan import MemoryPlan, check_memory
from tvm_pulp.target.print_network import (
    HEADERS,
    PARAMETERS,
    SOURCES,
    is_initialised,
    is_stored,
    print_network,
)
from tvm_pulp.target.symbols import check_model_name, symbol_of, symbol_table
from tvm_pulp.target.toolchain import ARCHITECTURES, COMMANDS, LINK_OPTIONS

_IGNORED = ("__pycache__", "*.py", "*.in")


def write(
    directory: Path,
    model: str,
    plan: MemoryPlan,
    kernels: Mapping[str, str],
    values: Mapping[str, np.ndarray],
    features: Features,
    micro_batches: int = 1,
) -> None:
    """Write the project of a network; its Makefile builds it, see `Toolchain.build`.

    Parameters
    ----------
    directory
        Where; created if it is missing.
    model
        Module name, prefix of the C symbols.
    plan
        Memory plan.
    kernels
        Kernel name → C file, as `print_kernel` gives it.
    values
        Initial values of parameters and states by name, in the shape of the plan.
    features
        Of the target: sizes for the link script.
    micro_batches
        Calls of gradient_step before one of update_step.

    Raises
    ------
    UserError
        On a module name that is not a C identifier, symbols that clash, scratch beyond L1, an L2 that the
        named tensors and the arena alone exceed.
    """
    check_model_name(model)
    symbol_table(model, plan.buffers)
    check_memory(plan, features)
    texts = print_network(model, plan, kernels, values, micro_batches)
    texts |= {f"{SOURCES}/kernel_{name}.c": text for name, text in kernels.items()}
    write_runtime(directory, model, features)
    for path, text in texts.items():
        _write_text(directory / path, text)
    for buffer in plan.buffers:
        if is_initialised(buffer, values):
            _write_values(
                directory, symbol_of(model, buffer), values[buffer.name], buffer.dtype, buffer.bytes
            )


def write_runtime(directory: Path, model: str, features: Features) -> None:
    """Write the part of a project that holds no network: runtime, Makefile, link script, configuration.

    With C files in `codegen/host/src` and a `templates/main.c` it is a program. The parameters are those of
    `write`.
    """
    runtime = resources.files("tvm_pulp.runtime")
    for part in ("pmsis", "kernels"):
        with resources.as_file(runtime / part) as source:
            if source.is_dir():
                target = directory / "runtime" / part
                shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_IGNORED))
    (directory / "templates").mkdir(parents=True, exist_ok=True)
    shutil.move(directory / "runtime" / "pmsis" / "batches.S", directory / "templates" / "batches.S")
    link = (runtime / "pmsis" / "bare_metal" / "link.ld.in").read_text(encoding="utf-8")
    makefile = (runtime / "pmsis" / "Makefile.in").read_text(encoding="utf-8")
    architectures = [f"COMMAND_{kind} = {command}" for kind, command in COMMANDS.items()]
    architectures += [f"ARCHITECTURE_{kind} = {flags}" for kind, flags in ARCHITECTURES.items()]
    architectures += [f"LINK_{kind} = {flags}" for kind, flags in LINK_OPTIONS.items()]
    fields = {
        "MODEL": model,
        "ARCHITECTURES": "\n".join(architectures),
        "TOOLCHAINS": ", ".join(ARCHITECTURES),
        "CORES": str(features.cores),
        "STACK_BYTES": str(features.stack_bytes),
        "L1_BASE": hex(features.l1_base),
        "L1_BYTES": str(features.l1_bytes),
        "L2_BASE": hex(features.l2_base),
        "L2_BYTES": str(features.l2_bytes),
        "L2_PRIVATE_BASE": hex(features.l2_private_base),
        "L2_PRIVATE_BYTES": str(features.l2_private_bytes),
    }
    _write_text(directory / "link.ld", _fill(link, fields))
    _write_text(directory / "Makefile", _fill(makefile, fields))
    _write_text(directory / HEADERS / "pulp_config.h", _configuration(features))


def _configuration(features: Features) -> str:
    return f"""\
/* The target: {features.tag}. Also included by assembly. */
#ifndef PULP_CONFIG_H
#define PULP_CONFIG_H

#define PULP_CORES {features.cores} /* workers */
#define PULP_FPUS {features.fpus}
#define PULP_L1_BYTES {features.l1_bytes}
#define PULP_L2_BYTES {features.l2_bytes}
#define PULP_STACK_BYTES {features.stack_bytes} /* of each worker, at the top of L1 */
#define PULP_HAS_XPULP {int(features.has_xpulp)}
#define PULP_HAS_FP16 {int(features.has_fp16)}
{"" if features.has_xpulp else "#define PULP_PLAIN_C 1 /* no assembly in kernels */"}
#endif
"""


def _fill(template: str, fields: Mapping[str, str]) -> str:
    return re.sub(r"@([A-Z0-9_]+)@", lambda match: fields[match[1]], template)


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def _write_values(directory: Path, symbol: str, value: np.ndarray, dtype: str, size: int) -> None:
    """Write the values bit by bit; what is all zero needs no file."""
    data = np.ascontiguousarray(value, dtype=np.dtype(dtype).newbyteorder("<")).tobytes()
    if len(data) != size:
        raise ValueError(f"{symbol}: {len(data)} bytes of values for {size} bytes of memory")
    if is_stored(value):
        folder = directory / PARAMETERS
        folder.mkdir(exist_ok=True)
        (folder / f"{symbol}.bin").write_bytes(data)
