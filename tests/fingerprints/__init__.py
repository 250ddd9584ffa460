"""A matrix of results that a change of structure must keep, and their recorded fingerprints.

The order of float32 sums depends on the processor. With the instructions of older processors
(``ATEN_CPU_CAPABILITY``, ``ONEDNN_MAX_CPU_ISA``, ``OPENBLAS_CORETYPE``) the images of four cases
differed by at most 4e-7 of their norm. An estimated noise, the result of an iterative search,
differed by 2e-4 between a processor with AMX and one with AVX2.
``ROUNDING`` and ``ESTIMATE`` in `fingerprint` allow 50 and 5 times as much. They still detect a
change by 1e-3 of the norm in one block of float voxels.
"""
