"""Distance of a result from noisy data, in units of what their noise explains."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

# The norm of n normal numbers of standard deviation 1 has a chi distribution, with mean sqrt(n) and
# standard deviation sqrt(1/2) for all but the smallest n. A result that leaves the noise alone thus
# has a misfit of 1 with the standard deviation 1 / sqrt(2 n). Normal numbers exceed five of them
# once in three million times, which many slices may see.
_DEVIATIONS = 5.0
# Misfits up to this multiple are no fault of the result. In air, where a result is black, the mean
# square of a magnitude is 2 sigma^2, which gives a factor of up to sqrt(2). The noise level is an
# estimate, and noise varies over the image (parallel imaging): another sqrt(2).
_MARGIN = 2.0


@dataclass(frozen=True)
class Misfit:
    """Norm of ``y - H x`` over the norm that noise is expected to have.

    Attributes:
        ratio: the ratio; 1 where the noise alone is left.
        count: number of real values of y, on which the limit depends.

    Example:
        >>> from mrcascade.measurement.misfit import Misfit
        >>> one = Misfit(2.6, 160 * 160)
        >>> round(one.limit, 2), one.excessive
        (2.04, True)
    """

    ratio: float
    count: int

    @classmethod
    def of(cls, residual: float, measured: np.ndarray, noise: float) -> Misfit | None:
        """Return the misfit of a result.

        Args:
            residual: ``||y - H x|| / ||y||``.
            measured: y, values above the zero level, real or complex.
            noise: standard deviation of the noise in y, of each part of a complex number.

        Returns:
            The misfit; None for data without noise, which results meet exactly.
        """
        if not noise > 0:
            return None
        count = measured.size * (2 if np.iscomplexobj(measured) else 1)
        size = float(np.linalg.norm(measured))
        return cls(residual * size / (noise * math.sqrt(count)), count)

    @property
    def limit(self) -> float:
        """Largest ratio without a warning, about 2."""
        return _MARGIN * (1 + _DEVIATIONS / math.sqrt(2 * self.count))

    @property
    def excessive(self) -> bool:
        """Whether the result misses its data by clearly more than their noise."""
        return self.ratio > self.limit

    @property
    def warning(self) -> str:
        """The warning for an excessive misfit, in one line."""
        return (
            f"the residual is {self.ratio:.1f} times what the noise explains (limit"
            f" {self.limit:.1f}), so the result has lost some of the data: compare it with the"
            " interpolated input, and try another mode or another --noise"
        )
