"""Cut a network in two: the frozen stage up to the latent layer, and the part that trains on its output."""

from __future__ import annotations

import dataclasses
from collections import Counter

from tvm import relax

from tvm_pulp.passes.layer_names import layer_names
from tvm_pulp.passes.model import Model, with_part
from tvm_pulp.passes.rewrite import bindings, operands, operator_name, static_shape
from tvm_pulp.passes.trained_part import near_names
from tvm_pulp.target.errors import UserError

_FOLLOWERS = ("nn.batch_norm", "nn.relu", "clip", "add", "quantize", "dequantize")
_SOFTMAXES = ("nn.softmax", "nn.log_softmax")
_POOLS = ("nn.adaptive_avg_pool2d", "nn.avg_pool2d", "mean")


@dataclasses.dataclass(frozen=True)
class Split:
    """A network in two parts.

    Attributes
    ----------
    frozen : Model
        From the inputs to the latents.
    trained : Model
        From the latents, its only input, to the output.
    latent : str
        Name of the tensor between the two: the output of the frozen one, the input of the trained one.
    """

    frozen: Model
    trained: Model
    latent: str


def split_at_latent(model: Model, latent_layer: str) -> Split:
    """Cut a network behind its latent layer.

    The latents are the output of that layer with the bias, batch norm and activation function that follow it,
    so the layer itself belongs to the frozen stage.

    Parameters
    ----------
    model : Model
        In canonical form.
    latent_layer : str
        Name of a layer or a prefix of names ("blocks.2"), or its number in a MobileNetV1 as the papers on
        latent replay count: 0 is the first convolution, 2k - 1 and 2k are the depthwise and pointwise one of
        block k, and the last number is the pooling (27 for 13 blocks). In other networks a number is a name.

    Raises
    ------
    UserError
        If there is no such layer, if nothing is left on one side, or if more than the latents crosses the
        cut: the message names the tensors.
    """
    last = _by_number(model, latent_layer) if latent_layer.isdecimal() else _by_name(model, latent_layer)
    latent = _with_followers(model, last)
    before = _ancestors(model, latent)
    _check_cut(model, latent_layer, latent, before)
    frozen = with_part(model, {v: v.name for v in model.input_variables}, latent)
    trained = with_part(model, {latent: latent.name}, model.function.body.body)
    return Split(frozen, trained, latent.name)


def split_at_softmax(model: Model) -> Split | None:
    """Cut a network before the softmax that it ends in, which stays in float.

    Returns
    -------
    Split or None
        None where it does not end in `nn.softmax` or `nn.log_softmax`, or where that is all it does.
    """
    result = model.function.body.body
    values = dict(bindings(model.function))
    value = values.get(result) if isinstance(result, relax.Var) else None
    if value is None or operator_name(value) not in _SOFTMAXES:
        return None
    logits = value.args[0]
    if logits not in values:
        return None
    frozen = with_part(model, {v: v.name for v in model.input_variables}, logits)
    return Split(frozen, with_part(model, {logits: logits.name}, result), logits.name)


def _by_number(model: Model, layer: str) -> relax.Var:
    """The convolution, or the pooling, of a number in MobileNetV1; in other networks the layer named so."""
    convolutions = [item for item in bindings(model.function) if operator_name(item[1]) == "nn.conv2d"]
    kinds = [_kind(value) for _, value in convolutions]
    blocks = (len(kinds) - 1) // 2
    if not kinds or kinds[1:] != ["depthwise", "pointwise"] * blocks:
        named = _find(model, layer)[0]
        if named is not None:
            return named
        raise UserError(
            f"{model.name}: layer numbers are those of MobileNetV1, a convolution and then depthwise and "
            "pointwise ones in turn, which this network is not: give the latent layer's name"
        )
    number = int(layer)
    if number < len(convolutions):
        return convolutions[number][0]
    pools = [variable for variable, value in bindings(model.function) if operator_name(value) in _POOLS]
    if number > len(convolutions) or not pools:
        raise UserError(
            f"{model.name}: there is no layer {number}: 0 is the first convolution, {len(kinds)} the pooling"
        )
    return pools[-1]


def _kind(value: relax.Call) -> str:
    weight = static_shape(value.args[1])
    if int(value.attrs.groups) > 1:
        return "depthwise"
    return "pointwise" if weight[2:] == (1, 1) else "convolution"


def _by_name(model: Model, layer: str) -> relax.Var:
    found, known = _find(model, layer)
    if found is None:
        raise UserError(f"{model.name}: there is no layer '{layer}'; {near_names(layer, known)}")
    return found


def _find(model: Model, layer: str) -> tuple[relax.Var | None, dict[str, None]]:
    """The last variable of a layer, or of the layers below a prefix, if there is one; all layers' names."""
    names = layer_names(model)
    found: relax.Var | None = None
    known: dict[str, None] = {}
    for variable, value in bindings(model.function):
        if not any(operand.name not in model.parameters for operand in operands(value)):
            continue
        for name in (variable.name, names.layer(variable)):
            known[name] = None
            moves = found is not None and operator_name(value) == "permute_dims"
            # what only moves the result of a layer is left to its reader
            if name == layer or (name.startswith(layer + ".") and not moves):
                found = variable
    return found, known


def _with_followers(model: Model, variable: relax.Var) -> relax.Var:
    """Follow bias, batch norm and activation function of one's own behind a variable."""
    readers: dict[relax.Var, list[tuple[relax.Var, relax.Expr]]] = {}
    constants = set(model.parameter_variables.values())
    for bound, value in bindings(model.function):
        read = operands(value)
        if read and all(operand in constants for operand in read):
            constants.add(bound)
        for operand in read:
            readers.setdefault(operand, []).append((bound, value))
    results = Counter(operands(model.function.body.body))
    while len(readers.get(variable, [])) == 1 and not results[variable]:
        reader, value = readers[variable][0]
        follows = operator_name(value) in _FOLLOWERS or isinstance(value, relax.TupleGetItem)
        alone = all(operand.same_as(variable) or operand in constants for operand in operands(value))
        if not (follows and alone):
            break
        variable = reader
    return variable


def _ancestors(model: Model, latent: relax.Var) -> set[relax.Var]:
    """The latent and everything that it is computed from."""
    needed = {latent}
    for variable, value in reversed(list(bindings(model.function))):
        if variable in needed:
            needed.update(operands(value))
    return needed


def _check_cut(model: Model, layer: str, latent: relax.Var, before: set[relax.Var]) -> None:
    result = operands(model.function.body.body)
    if latent in result:
        raise UserError(
            f"{model.name}: behind layer '{layer}' nothing is left to train: choose an earlier one"
        )
    parameters = set(model.parameter_variables.values())
    frozen_constants = {v for v in before if v in parameters}
    crossing: dict[str, None] = {}
    shared: dict[str, None] = {}
    derived = set(parameters)
    for variable, value in bindings(model.function):
        read = operands(value)
        if read and all(operand in derived for operand in read):
            derived.add(variable)
        if variable in before:
            continue
        for operand in read:
            if operand in frozen_constants:
                shared[operand.name] = None
            elif operand in before and operand not in derived and not operand.same_as(latent):
                crossing[operand.name] = None
    crossing.update((v.name, None) for v in result if v in before)
    if crossing:
        raise UserError(
            f"{model.name}: layer '{layer}' does not cut the network in two: besides its output, "
            f"{', '.join(crossing)} is read behind it: choose the layer where the branches meet"
        )
    if shared:
        raise UserError(
            f"{model.name}: both sides of layer '{layer}' read {', '.join(shared)}: a parameter is frozen or "
            "trained, not both"
        )
