"""The function that stores new samples for replay: latents straight from the frozen stage's bytes."""

from __future__ import annotations

from tvm import relax

from tvm_pulp.passes.finish_graph import finish_function, resolve
from tvm_pulp.passes.frozen_stage import FrozenStage
from tvm_pulp.passes.kernel_call import emit_kernel
from tvm_pulp.passes.operators.latents import repack_latents
from tvm_pulp.passes.operators.store_rows import store_rows
from tvm_pulp.passes.place_updates import Update
from tvm_pulp.passes.replays import LAYER, Replays
from tvm_pulp.passes.rewrite import closed_on_error, static_shape
from tvm_pulp.target.functions import STORE_REPLAYS


def add_store_replays(builder: relax.BlockBuilder, frozen: FrozenStage, replays: Replays) -> None:
    """Add ``store_replays`` to the module that is built.

    ``store_replays(inputs..., labels, replay_slots, replay_latents, replay_labels, parameters...)`` computes
    the latents of new samples, as many as a pass has, and overwrites the slots that it is given, all
    different ones. It returns nothing, or for a store in L3, which is no argument then, the packed latents.

    Parameters
    ----------
    builder : relax.BlockBuilder
        Of the module; outside any function.
    frozen : FrozenStage
        What yields the latents.
    replays : Replays
        The store.
    """
    inputs, parameters = frozen.input_variables(replays.new), frozen.parameter_variables()
    labels, slots = replays.labels_variable(), replays.slots_variable()
    kept, kept_labels = replays.latents_variable(), replays.stored_labels_variable()
    store = [kept_labels] if replays.in_l3 else [kept, kept_labels]
    arguments = [*inputs, labels, slots, *store, *parameters.values()]
    source = relax.BlockBuilder()
    with closed_on_error(lambda: source), source.function(STORE_REPLAYS, arguments):
        with source.dataflow():
            bytes_ = frozen.emit(source, inputs, parameters, replays.new, "uint8")
            shape = (replays.new, *replays.form.shape)
            pack = repack_latents(LAYER, "pack_latents", shape, replays.form.requantization)
            packed = source.emit_output(emit_kernel(source, pack, [bytes_]))
        source.emit_func_output(packed)
    module = source.get()
    bound, (rows,) = resolve(module[STORE_REPLAYS])
    stored = {"labels": (labels, kept_labels)}
    if not replays.in_l3:
        stored["latents"] = (rows, kept)
    updates = []
    for what, (new, place) in stored.items():
        kernel = store_rows(LAYER, f"store_{what}", static_shape(new), replays.capacity, str(new.ty.dtype))
        updates.append(Update(kernel, (new, slots, place), (2,), f"{place.name}_stored"))
    results = [rows] if replays.in_l3 else []
    finish_function(builder, STORE_REPLAYS, arguments, bound, module, results, updates)
