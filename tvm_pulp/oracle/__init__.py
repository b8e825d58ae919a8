"""PyTorch as the judge: the forward graph rebuilt from torch operators, trained by torch's own means."""

from tvm_pulp.oracle.oracle import Oracle, StepResult

__all__ = ["Oracle", "StepResult"]
