"""Which parameters of a model are trained, and which batch norms therefore run in training mode."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase

from tvm import relax

from tvm_pulp.passes.model import Model, layer_of
from tvm_pulp.passes.rewrite import bindings, operands, operator_name
from tvm_pulp.target.errors import UserError


def trained_parameters(
    model: Model, trainable_patterns: Sequence[str] = ("*",), freeze_until: str | None = None
) -> tuple[str, ...]:
    """Names of the parameters that an optimiser updates, in the model's order.

    Parameters
    ----------
    model : Model
        In canonical form.
    trainable_patterns : sequence of str
        `fnmatch` patterns on parameter names ("classifier.*"); a parameter is trained if one matches.
    freeze_until : str, optional
        A layer: it and all layers before it in execution order are not trained. A prefix names all layers
        below it ("blocks.2" is "blocks.2.depthwise" and so on).

    Returns
    -------
    tuple of str
        Buffers (running statistics, constants) are never among them.

    Raises
    ------
    UserError
        If a pattern matches no parameter that can be trained, if there is no such layer, or if nothing is
        left.
    """
    candidates = [name for name in model.parameters if name not in model.buffers]
    for pattern in trainable_patterns:
        if not any(fnmatchcase(name, pattern) for name in candidates):
            raise UserError(
                f"{model.name}: the pattern '{pattern}' matches no trainable parameter; "
                f"{near_names(pattern, candidates)}"
            )
    frozen = set() if freeze_until is None else _frozen(model, freeze_until)
    chosen = tuple(
        name
        for name in candidates
        if name not in frozen and any(fnmatchcase(name, pattern) for pattern in trainable_patterns)
    )
    if not chosen:
        raise UserError(
            f"{model.name}: nothing is left to train after freezing up to layer '{freeze_until}': "
            "freeze fewer layers or widen the patterns of trainable parameters"
        )
    return chosen


def training_batch_norms(model: Model, trainable: Collection[str]) -> set[str]:
    """Layers of the batch norms that run in training mode.

    A batch norm runs in training mode if at least one parameter of it or of a layer before it on the path to
    the input is trained, that is if gradients flow into or through it. It then normalises with the statistics
    of the (micro-)batch and updates its running statistics; any other one runs with its running statistics,
    unchanged.

    Parameters
    ----------
    model : Model
        In canonical form.
    trainable : collection of str
        Names of the parameters that are trained.

    Returns
    -------
    set of str
        As `batch_norm_layer` names them.
    """
    reached = set(trainable)
    training = set()
    for variable, value in bindings(model.function):
        if any(operand.name in reached for operand in operands(value)):
            reached.add(variable.name)
            if operator_name(value) == "nn.batch_norm":
                training.add(batch_norm_layer(value))
    return training


def batch_norm_layer(value: relax.Call) -> str:
    """Layer of a call of `nn.batch_norm`: that of its running mean."""
    return layer_of(value.args[3].name)


def _frozen(model: Model, layer: str) -> set[str]:
    """Parameters whose first reader does not come after the last operator of a layer."""
    first_use: dict[str, int] = {}
    last_of_layer = -1
    layers: dict[str, None] = {}
    for position, (variable, value) in enumerate(bindings(model.function)):
        names = [variable.name]
        for operand in operands(value):
            if operand.name in model.parameters:
                first_use.setdefault(operand.name, position)
                names.append(layer_of(operand.name))
        layers.update(dict.fromkeys(names))
        if any(name == layer or name.startswith(layer + ".") for name in names):
            last_of_layer = position
    if last_of_layer < 0:
        raise UserError(
            f"{model.name}: there is no layer '{layer}' to freeze up to; {near_names(layer, layers)}"
        )
    return {name for name, position in first_use.items() if position <= last_of_layer}


def near_names(name: str, known: Iterable[str]) -> str:
    """List the known names that are most like a name, for a message."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names[:3]
    return f"near names: {', '.join(close)}"
