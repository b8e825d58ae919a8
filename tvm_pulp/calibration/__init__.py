"""Calibration: the ranges of a network's tensors over sample data, for quantisation."""
