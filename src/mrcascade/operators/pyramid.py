"""The Laplacian pyramid: an image as one coarse image and the bands that refine it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from mrcascade.errors import MRCascadeError
from mrcascade.operators.separable import downsampler, upsampler

Shape = tuple[int, int]


class Pyramid(ABC):
    """Base of the pyramids: bands from steps between neighbouring grids.

    Attributes:
        levels: L.
    """

    levels: int

    @abstractmethod
    def down(self, x: Tensor, level: int) -> Tensor:
        """Downsample from the grid of ``level`` (1 <= level < L) to the next coarser one."""

    @abstractmethod
    def up(self, x: Tensor, level: int) -> Tensor:
        """Upsample from the grid of ``level + 1`` to that of ``level`` (1 <= level < L)."""

    def decompose(self, x: Tensor) -> list[Tensor]:
        """Return the bands [x_(1), ..., x_(L)] of a real or complex image or volume."""
        bands = []
        for level in range(1, self.levels):
            coarse = self.down(x, level)
            bands.append(x - self.up(coarse, level))
            x = coarse
        return [*bands, x]

    def rebuild(self, bands: Sequence[Tensor]) -> Tensor:
        """Return the image or volume of the L bands, exact up to rounding.

        Raises MRCascadeError for another number of bands.
        """
        if len(bands) != self.levels:
            raise MRCascadeError(f"a pyramid of {self.levels} levels cannot use {len(bands)} bands")
        x = bands[-1]
        for level in range(self.levels - 1, 0, -1):
            x = bands[level - 1] + self.up(x, level)
        return x


class LaplacianPyramid(Pyramid):
    """Bands x_(1), ..., x_(L) of an image x; level 1 is the finest.

    With g_(1) = x and g_(i+1) = down(g_(i)), the bands are x_(i) = g_(i) - up(g_(i+1)) and
    x_(L) = g_(L). Then x = x_(1) + up(x_(2) + up(x_(3) + ...)) for any pair of down and up
    (Burt and Adelson 1983; the paper's eqs. 3 to 5).

    Args:
        kernel: one of ``operators.KERNELS``.
        shape: rows and columns of level 1, any size.
        levels: L >= 1. Each next level has ceil(n / step) samples per axis.
        step: factor from level to level, a power of 2; 2 in the paper.

    Attributes:
        shapes: shapes of the levels; ``shapes[0]`` is level 1.

    Raises:
        MRCascadeError: ``levels`` is below 1, ``step`` is no power of 2 above 1, or a level cannot
            be smaller than the one before.

    Example:
        >>> import torch
        >>> from mrcascade import LaplacianPyramid
        >>> pyramid = LaplacianPyramid("fourier", (16, 12), levels=3)
        >>> pyramid
        LaplacianPyramid('fourier', (16, 12) > (8, 6) > (4, 3))
        >>> image = torch.rand(1, 1, 16, 12)
        >>> bands = pyramid.decompose(image)
        >>> [tuple(band.shape) for band in bands]
        [(1, 1, 16, 12), (1, 1, 8, 6), (1, 1, 4, 3)]
        >>> bool(torch.allclose(pyramid.rebuild(bands), image, atol=1e-6))
        True
    """

    def __init__(self, kernel: str, shape: Shape, levels: int, step: int = 2) -> None:
        self.kernel = kernel
        self.levels = levels
        self.step = step
        self.shapes = _level_shapes(shape, levels, step)
        pairs = list(zip(self.shapes, self.shapes[1:], strict=False))
        self._downs = [downsampler(kernel, fine, coarse) for fine, coarse in pairs]
        self._ups = [upsampler(kernel, fine, coarse) for fine, coarse in pairs]

    def __repr__(self) -> str:
        return f"LaplacianPyramid({self.kernel!r}, {' > '.join(map(str, self.shapes))})"

    def down(self, x: Tensor, level: int) -> Tensor:
        return self._downs[self._index(level)](x)

    def up(self, x: Tensor, level: int) -> Tensor:
        return self._ups[self._index(level)](x)

    def _index(self, level: int) -> int:
        if not 1 <= level < self.levels:
            raise MRCascadeError(
                f"a pyramid of {self.levels} levels has steps 1 to {self.levels - 1}; got {level}"
            )
        return level - 1


def _level_shapes(shape: Shape, levels: int, step: int) -> list[Shape]:
    if step < 2 or step & (step - 1):
        raise MRCascadeError(f"the step of a pyramid must be a power of 2 above 1; got {step}")
    if levels < 1 or len(shape) != 2 or min(shape) < 1:
        raise MRCascadeError(
            f"a pyramid needs two positive sizes and 1 level or more; "
            f"got shape {tuple(shape)} and {levels} levels"
        )
    shapes = [(int(shape[0]), int(shape[1]))]
    while len(shapes) < levels:
        rows, cols = shapes[-1]
        if rows == cols == 1:
            raise MRCascadeError(
                f"shape {tuple(shape)} has no more than {len(shapes)} levels; got {levels}"
            )
        shapes.append((-(-rows // step), -(-cols // step)))
    return shapes
