"""Samplers: the step of a chain from one noise level to the next, one file each; free of torch."""
