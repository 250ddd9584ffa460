"""The eight orientations of a pixel grid, for averaging estimates.

This is the geometric self-ensemble of Timofte et al. (2016, "Seven ways to improve example-based
single image super resolution"). Training has no preferred orientation, yet a trained network's
errors differ between orientations and partly cancel.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Orientation:
    """Flips along the given dimensions, then optionally a transposition."""

    flips: tuple[int, ...] = ()
    transposed: bool = False

    def apply(self, x: Tensor) -> Tensor:
        """Return x (..., H, W) in this orientation."""
        x = x.flip(self.flips)
        return x.transpose(-2, -1) if self.transposed else x

    def undo(self, x: Tensor) -> Tensor:
        """Undo ``apply``; scalars are returned as they are."""
        if x.ndim < 2:
            return x
        x = x.transpose(-2, -1) if self.transposed else x
        return x.flip(self.flips)


_FLIPS = ((), (-2, -1), (-2,), (-1,))
#: Orientations in the order of use; the half turn comes early, as it helps most.
ORIENTATIONS = tuple(Orientation(f, t) for t in (False, True) for f in _FLIPS)
