"""Knobs found by measuring: records of them, and kernels that are made by records."""
