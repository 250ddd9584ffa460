"""Measured truth, restored by every method, compared: metrics, tables with intervals, a picture."""
