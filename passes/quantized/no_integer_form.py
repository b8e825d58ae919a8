"""The error by which a rule tells that a layer has no integer form."""

from __future__ import annotations

from tvm_pulp.target.errors import UserError


class NoIntegerForm(UserError):
    """A layer that cannot compute in integers.

    Networks that are quantised here end with this message; those that come quantised compute the layer in
    float32.

    Attributes
    ----------
    why : str
        The reason alone, without the layer's name and a remedy.
    """

    def __init__(self, layer: str, why: str, remedy: str) -> None:
        super().__init__(f"layer {layer}: {why}: {remedy}")
        self.why = why
