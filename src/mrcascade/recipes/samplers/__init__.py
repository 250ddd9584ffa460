"""Samplers: how a chain gets from one noise level to the next, one file each; free of torch."""
