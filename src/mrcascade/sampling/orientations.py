"""The eight orientations of a pixel grid, over which an estimate may be averaged.

This is the geometric self-ensemble of Timofte et al. (2016, "Seven ways to improve example-based
single image super resolution"): training knows no preferred orientation, but a trained network
answers each a little differently, and the errors partly cancel.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Orientation:
    """Flips along the named dimensions, then perhaps rows and columns exchanged."""

    flips: tuple[int, ...] = ()
    transposed: bool = False

    def apply(self, x: Tensor) -> Tensor:
        """Turn (..., H, W)."""
        x = x.flip(self.flips)
        return x.transpose(-2, -1) if self.transposed else x

    def undo(self, x: Tensor) -> Tensor:
        """The inverse of ``apply``; numbers and other scalars pass."""
        if x.ndim < 2:
            return x
        x = x.transpose(-2, -1) if self.transposed else x
        return x.flip(self.flips)


_FLIPS = ((), (-2, -1), (-2,), (-1,))
#: In the order in which they are taken: half a turn first, which brought most in few evaluations.
ORIENTATIONS = tuple(Orientation(f, t) for t in (False, True) for f in _FLIPS)
