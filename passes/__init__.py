"""Relax to Relax passes: from an imported network to a planned training step of kernels."""
