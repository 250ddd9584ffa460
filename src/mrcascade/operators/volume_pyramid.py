"""The Laplacian pyramid of a volume: a kernel's matrices along all three axes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from torch import Tensor

from mrcascade.operators.kernels import Matrix, down_matrix, up_matrix
from mrcascade.operators.pyramid import LaplacianPyramid, Pyramid
from mrcascade.operators.separable import SeparableOperator, downsampler, upsampler


class VolumePyramid(Pyramid):
    """Bands of a volume, as those of an image (`LaplacianPyramid`); level 1 is the finest.

    Args:
        kernel: one of ``operators.KERNELS``.
        shape: (n, h, w) of level 1.
        levels: number of levels L.
        step: factor from level to level along each axis.

    Attributes:
        shapes: shapes of the levels, finest first.

    Raises:
        MRCascadeError: as for `LaplacianPyramid`.

    Example:
        >>> import torch
        >>> from mrcascade.operators.volume_pyramid import VolumePyramid
        >>> pyramid = VolumePyramid("fourier", (8, 12, 16), levels=2)
        >>> volume = torch.rand(1, 8, 12, 16)
        >>> coarse = pyramid.down(volume, 1)
        >>> tuple(coarse.shape), tuple(pyramid.up(coarse, 1).shape)
        ((1, 4, 6, 8), (1, 8, 12, 16))
    """

    def __init__(
        self, kernel: str, shape: tuple[int, int, int], levels: int, step: int = 2
    ) -> None:
        in_plane = LaplacianPyramid(kernel, shape[1:], levels, step).shapes
        depths = [rows for rows, _ in LaplacianPyramid(kernel, shape[:2], levels, step).shapes]
        self.levels = levels
        self.shapes = [(n, h, w) for n, (h, w) in zip(depths, in_plane, strict=True)]
        self._downs: list[tuple[SeparableOperator, SeparableOperator]] = []
        self._ups: list[tuple[SeparableOperator, SeparableOperator]] = []
        for fine, coarse in pairwise(self.shapes):
            down, up = (
                down_matrix(kernel, fine[0], coarse[0]),
                up_matrix(kernel, fine[0], coarse[0]),
            )
            self._downs.append((downsampler(kernel, fine[1:], coarse[1:]), _depth(down, coarse[2])))
            self._ups.append((upsampler(kernel, fine[1:], coarse[1:]), _depth(up, coarse[2])))

    def down(self, x: Tensor, level: int) -> Tensor:
        """Downsample (..., n, h, w) from the grid of ``level`` to the next coarser one."""
        in_plane, depth = self._downs[level - 1]
        return _through(depth, in_plane(x))

    def up(self, x: Tensor, level: int) -> Tensor:
        """Upsample (..., n, h, w) from the grid of ``level + 1`` to that of ``level``."""
        in_plane, depth = self._ups[level - 1]
        return in_plane(_through(depth, x))


def _depth(matrix: Matrix, columns: int) -> SeparableOperator:
    return SeparableOperator(matrix, np.eye(columns), "along the first axis")


def _through(operator: SeparableOperator, x: Tensor) -> Tensor:
    """Apply an operator to the planes (n, w) of a volume (..., n, h, w)."""
    return operator(x.movedim(-2, 0)).movedim(0, -2)
