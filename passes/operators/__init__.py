"""Computations of the operator classes, forward and gradients, as PrimFuncs made from tensor expressions."""
