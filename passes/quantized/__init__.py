"""Quantisation: the integer graph of the frozen stage, and latents of few bits."""
