"""Print what moves rows of a tensor in L3: by core 0 of the cluster, beside the kernels."""

from __future__ import annotations

from tvm_pulp.target.plan import ExternalRows, FunctionPlan, MemoryPlan
from tvm_pulp.target.print_header import comment, shape_text
from tvm_pulp.target.symbols import symbol_of


def external_tensors(model: str, plan: MemoryPlan) -> list[str]:
    """Print the variables that hold where in L3 tensors are; nothing for a plan without any."""
    stored = [buffer for buffer in plan.buffers if buffer.level == "L3"]
    if not stored:
        return []
    lines = ["/* Tensors in external memory: their addresses there, set when the cluster is opened. */"]
    for b in stored:
        lines.append(f"uint32_t {symbol_of(model, b)}; /* {comment(b.name)} {shape_text(b.shape)} */")
    return ["\n".join(lines)]


def external_functions(model: str, plan: MemoryPlan) -> list[str]:
    """Print the functions that open L3 and move rows of its tensors; nothing for a plan without any."""
    moved = [f.external for f in plan.functions if f.external is not None]
    if not moved:
        return []
    most = max(external.count for external in moved)
    store = symbol_of(model, moved[0].tensor)
    open_ = _OPEN.replace("@STORE@", store).replace("@REQUESTS@", str(most))
    return [open_, *(_move(model, external) for external in moved)]


def start_external(function: FunctionPlan, index: int) -> list[str]:
    """Print the start of copies to L2, before a call."""
    external = function.external
    starts = external is not None and external.to_l2 and external.start == index
    return ["", "  if (core == 0) fetch_rows();"] if starts else []


def finish_external(function: FunctionPlan, index: int) -> list[str]:
    """Print the wait for copies to L2, before a call, and the copies to L3 at the end of a function."""
    external = function.external
    if external is None or external.ready != index:
        return []
    if external.to_l2:
        wait = f"  if (core == 0) wait_for_rows({external.count}); /* {comment(external.rows.name)} */"
        return ["", wait, "  cluster_barrier();"]
    return ["", "  if (core == 0) store_rows();"]


def _move(model: str, external: ExternalRows) -> str:
    rows, slots, store = (symbol_of(model, b) for b in (external.rows, external.slots, external.tensor))
    size = external.row_bytes
    name, copy = ("fetch_rows", "read") if external.to_l2 else ("store_rows", "write")
    what = "Start to fetch the rows that are named" if external.to_l2 else "Store rows where they are named"
    return (
        f"/* {what}: by {comment(external.slots.name)}, {size} bytes each. */\n"
        f"static __attribute__((noinline)) void {name}(void) {{\n"
        f"  for (int i = 0; i < {external.count}; i++)\n"
        f"    pi_cl_ram_{copy}(&ram, {store} + (uint32_t){slots}[i] * {size}u, {rows} + i * {size}, {size},\n"
        f"                   &row_requests[i]);\n"
        + ("" if external.to_l2 else f"  wait_for_rows({external.count});\n")
        + "}"
    )


_OPEN = """\
/* External memory, and the rows that are on their way. */
static struct pi_device ram;
static pi_cl_ram_req_t row_requests[@REQUESTS@];

static int open_ram(void) {
  static struct pi_hyperram_conf configuration;
  pi_hyperram_conf_init(&configuration);
  pi_open_from_conf(&ram, &configuration);
  if (pi_ram_open(&ram)) return -1;
  return pi_ram_alloc(&ram, &@STORE@, @STORE@_BYTES);
}

static void close_ram(void) {
  pi_ram_free(&ram, @STORE@, @STORE@_BYTES);
  pi_ram_close(&ram);
}

static __attribute__((noinline)) void wait_for_rows(int count) {
  for (int i = 0; i < count; i++) pi_cl_ram_copy_wait(&row_requests[i]);
}"""
