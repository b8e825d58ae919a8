"""State of the lowering of a forward function, which the functions that lower one operator work on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tvm import relax

from tvm_pulp.passes.fuse_batch_norm import BatchNormChain
from tvm_pulp.passes.kernel_call import emit_kernel
from tvm_pulp.passes.layer_names import LayerNames
from tvm_pulp.passes.operators.movement import permute_dims
from tvm_pulp.passes.rewrite import is_number, number, static_shape
from tvm_pulp.target.tvm_names import PrimFunc


@dataclass(frozen=True)
class Transposed:
    """A transpose that has not been computed: a matrix product may read its source as it is stored.

    Attributes
    ----------
    source : relax.Var
        Before the transpose.
    axes : tuple of int
        Axis i is axis ``axes[i]`` of the source.
    layer : str
        Of the transpose.
    """

    source: relax.Var
    axes: tuple[int, ...]
    layer: str


@dataclass(frozen=True)
class RunningStatistics:
    """A batch norm whose running statistics are to be updated.

    Attributes
    ----------
    layer : str
        Of the batch norm.
    shape : tuple of int
        Of its data.
    momentum : float
        Share of the batch in the new statistics.
    statistics : (relax.Var, relax.Var)
        Mean and biased variance of the batch.
    running : (str, str)
        Names of the parameters running mean and running variance.
    """

    layer: str
    shape: tuple[int, ...]
    momentum: float
    statistics: tuple[relax.Var, relax.Var]
    running: tuple[str, str]


@dataclass
class Lowering:
    """State of the walk, given to the functions that lower an operator.

    Attributes
    ----------
    builder : relax.BlockBuilder
        Inside a dataflow block.
    names : LayerNames
        Layers of the bindings.
    work : str
        What the kernels do, for their names: "forward" or "infer".
    training_batch_norms : collection of str
        Layers of the batch norms that run in training mode.
    trained : set of Var
        New variables that depend on a trained parameter.
    running_statistics : list of RunningStatistics
        Filled by the walk.
    batch_norm_chains : mapping of Var to BatchNormChain
        By the variable of the batch norm, see `fuse_batch_norm`.
    """

    builder: relax.BlockBuilder
    names: LayerNames
    work: str
    training_batch_norms: Collection[str] = ()
    trained: set[relax.Var] = field(default_factory=set)
    running_statistics: list[RunningStatistics] = field(default_factory=list)
    batch_norm_chains: Mapping[relax.Var, BatchNormChain] = field(default_factory=dict)
    _values: dict[relax.Var, Any] = field(default_factory=dict)

    def define(self, old: relax.Var, new: relax.Var | Transposed | tuple) -> None:
        """Say what an old variable is from here on."""
        self._values[old] = new

    def peek(self, old: relax.Expr) -> Any:
        """What an old variable is now: a variable, a `Transposed`, or a tuple of variables."""
        return self._values[old]

    def tensor(self, old: relax.Expr) -> relax.Var:
        """New variable of an old one, computed if it is a transpose that has been put off."""
        new = self._values[old]
        if isinstance(new, Transposed):
            kernel = permute_dims(new.layer, self.work, static_shape(new.source), new.axes)
            new = self.kernel(kernel, [new.source], "permute_dims", {"axes": new.axes})
            self._values[old] = new
        return new

    def operand(self, old: relax.Expr) -> relax.Var | float:
        """New variable of an old one, or the value of a constant of one element."""
        return number(old) if is_number(old) else self.tensor(old)

    def kernel(
        self,
        function: PrimFunc,
        arguments: Sequence[relax.Var],
        rule: str = "",
        parameters: Mapping[str, Any] | None = None,
        name: str = "",
    ) -> relax.Var:
        """Call a kernel; see `emit_kernel`."""
        needed = [argument in self.trained for argument in arguments]
        output = emit_kernel(self.builder, function, arguments, rule, parameters, needed, name)
        if any(needed):
            self.trained.add(output)
        return output

    def view(self, source: relax.Var, shape: Sequence[int], name: str = "") -> relax.Var:
        """See a tensor by another shape; no kernel."""
        if static_shape(source) == tuple(shape):
            return source
        output = self.builder.emit(relax.op.reshape(source, tuple(shape)), name)
        if source in self.trained:
            self.trained.add(output)
        return output
