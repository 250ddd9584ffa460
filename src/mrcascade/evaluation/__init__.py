"""Evaluation of methods against ground truth: metrics, tables with intervals, a picture."""
