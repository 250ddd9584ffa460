"""A matrix of results that a change of structure keeps, and what each result is known by.

The order of float32 sums depends on the processor. With the instructions of older processors
(``ATEN_CPU_CAPABILITY``, ``ONEDNN_MAX_CPU_ISA``, ``OPENBLAS_CORETYPE``) the images of the four cases
that were tried differ by at most 4e-7 of their norm, and an estimated noise, which ends an iterative
search, by 1e-5. ``ROUNDING`` and ``ESTIMATE`` in `fingerprint` allow 50 and 20 times as much. A
change by 1e-3 of the norm in one block of float voxels is still found.
"""
