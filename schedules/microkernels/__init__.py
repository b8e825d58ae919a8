"""Generators of register-blocked micro-kernels: assembly for Xpulp, with the same in plain C beside it."""
