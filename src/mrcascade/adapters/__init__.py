"""Adapters to deepinv, MONAI and torchio: one module each, which imports its library when used."""
