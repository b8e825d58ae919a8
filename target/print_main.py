"""Print the main program: one command for a host that runs it again and again, or many steps on its own."""

from __future__ import annotations

from tvm_pulp.target.functions import STORE_REPLAYS
from tvm_pulp.target.plan import Buffer, MemoryPlan
from tvm_pulp.target.symbols import symbol_of


def batch_layout(plan: MemoryPlan) -> list[Buffer]:
    """The tensors of one (micro-)batch in the order of the data file: inputs, labels, slots of replays."""
    kinds = ("input", "labels", "slots")
    return [buffer for kind in kinds for buffer in plan.buffers if buffer.kind == kind]


def print_main(model: str, plan: MemoryPlan) -> str:
    """Print `main.c`.

    Without `STEPS` it runs `<model>_command` once and exits with 0: a host writes tensors and the command,
    starts it, reads. With `STEPS` it trains (or infers) on the batches of a data file that is part of the
    program and prints a line a step, for simulators without a host; with a replay store each batch is stored
    before it is trained on.
    """
    stores = any(function.name == STORE_REPLAYS for function in plan.functions)
    stored = "\n * Each batch is stored for replay before it is trained on." if stores else ""
    symbols = {name: f"tvmgen_{model}_{name}" for name in ("open", "close", "run")}
    return "\n".join(
        [
            f"/* Runs {model}. With STEPS=n: n steps on the batches of DATA, which is part of the program;",
            f" * each is {_layout_text(model, plan)}, without gaps."
            f" Otherwise: {model}_command, once.{stored} */",
            f'#include "tvmgen_{model}.h"',
            "",
            "#include <stdio.h>",
            "#include <string.h>",
            "",
            '#include "pulp_runtime.h"',
            "",
            "#ifdef STEPS",
            *_steps(model, plan),
            "#endif",
            "",
            "int main(void) {",
            f"  if ({symbols['open']}()) {{",
            f'    printf("{model}: the cluster cannot be opened with %d bytes of L1\\n", '
            f"TVMGEN_{model.upper()}_L1_BYTES);",
            "    return 2;",
            "  }",
            "#ifdef STEPS",
            "  run_steps();",
            "#else",
            f"  {symbols['run']}({model}_command);",
            "#endif",
            f"  {symbols['close']}();",
            "  return 0;",
            "}",
            "",
        ]
    )


def _layout_text(model: str, plan: MemoryPlan) -> str:
    return ", ".join(f"{symbol_of(model, b)} ({b.bytes} bytes)" for b in batch_layout(plan)) or "empty"


def _steps(model: str, plan: MemoryPlan) -> list[str]:
    functions = [function.name for function in plan.functions]
    store = [f"tvmgen_{model}_{STORE_REPLAYS}();"] if STORE_REPLAYS in functions else []
    loads = []
    for buffer in batch_layout(plan):
        symbol = symbol_of(model, buffer)
        loads += [f"  memcpy({symbol}, data, {symbol}_BYTES);", f"  data += {symbol}_BYTES;"]
    lines = [
        "extern const char data_start[]; /* batches.S */",
        "",
        "static const char *load(const char *data) {",
        *loads,
        "  return data;",
        "}",
        "",
        "static void run_steps(void) {",
        "  const char *data = data_start;",
        "  for (int step = 0; step < STEPS; step++) {",
    ]
    if "train_step" in functions:
        lines += [
            "    data = load(data);",
            *(f"    {line}" for line in store),
            f"    tvmgen_{model}_train_step();",
            f"    const float loss = {model}_loss[0];",
            f"    const uint32_t cycles = {model}_cycles;",
        ]
    elif "gradient_step" in functions:
        lines += [
            "    float loss = 0;",
            "    uint32_t cycles = 0;",
            f"    for (int part = 0; part < TVMGEN_{model.upper()}_MICRO_BATCHES; part++) {{",
            "      data = load(data);",
            *(f"      {line}" for line in store),
            f"      tvmgen_{model}_gradient_step();",
            f"      loss += {model}_loss[0];",
            f"      cycles += {model}_cycles;",
            "    }",
            f"    tvmgen_{model}_update_step();",
            f"    cycles += {model}_cycles;",
        ]
    else:
        output = next(buffer for buffer in plan.buffers if buffer.kind == "output")
        lines += [
            "    data = load(data);",
            f"    tvmgen_{model}_infer();",
            f'    printf("step %d cycles %u output", step, (unsigned){model}_cycles);',
            f"    for (int i = 0; i < {min(16, output.bytes // 4)}; i++)",
            f'      printf(" %f", (float){symbol_of(model, output)}[i]);',
            '    printf("\\n");',
        ]
    if functions[:1] != ["infer"]:
        lines += [
            "    uint32_t bits;",
            "    memcpy(&bits, &loss, sizeof bits);",
            '    printf("step %d loss %f (%08x) cycles %u\\n", step, loss, (unsigned)bits,',
            "           (unsigned)cycles);",
        ]
    return [*lines, "  }", "}"]
