"""One volume that meets several stacks of slices."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrcascade.operators.profile import FWHM
from mrcascade.operators.stack import StackOperator
from mrcascade.restore.volume.thick import SMOOTHNESS

# Most iterations, and the gradient, as a share of that of a volume of zeros, at which they end.
_ITERATIONS, _TOLERANCE = 60, 3e-4
# Weight of an estimate at frequencies that its stack did not measure, over that at the others.
_UNMEASURED = 0.02


@dataclass(frozen=True)
class StackData:
    """A stack of slices as data of a volume.

    Attributes:
        operator: what the stack sees of the volume.
        values: (S, h, w), on the volume's scale of intensities.
        weight: weight of its squared residuals: inverse variance of its noise, relative to one of
            the stacks.
    """

    operator: StackOperator
    values: np.ndarray
    weight: float = 1.0

    def missed(self, volume: np.ndarray) -> np.ndarray:
        """Return what a volume leaves unexplained, (S, h, w); 0 beyond the field of view."""
        return np.asarray((self.values - self.operator(volume)) * self.operator.inside)

    def residual(self, volume: np.ndarray) -> float:
        """Return ``||y - A x|| / ||y||`` within the field of view of the volume."""
        size = np.linalg.norm(self.values * self.operator.inside)
        return float(np.linalg.norm(self.missed(volume)) / size) if size else 0.0


@dataclass(frozen=True)
class JointVolume:
    """A volume that meets several stacks.

    Attributes:
        volume: (n, h, w).
        weight: weight of what holds the volume against the data.
        iterations: iterations of conjugate gradients.
    """

    volume: np.ndarray
    weight: float
    iterations: int


def joint_least_squares(
    stacks: Sequence[StackData], start: np.ndarray, noise: float = 0.0
) -> JointVolume:
    """Return the smooth volume that explains several stacks, by conjugate gradients.

    It minimises ``sum_i w_i ||y_i - A_i x||^2 + s ||D x||^2`` with the second differences D along
    all three axes. The weight s is the variance of the noise over that of the second differences
    of ``start``, and at least that of `least_squares`.

    Args:
        stacks: the data.
        start: (n, h, w), where the iteration begins: `least_squares` of one stack.
        noise: standard deviation of the noise of data with weight 1.
    """
    rough = float(np.vdot(start, _second_differences(start))) / start.size
    weight = max(SMOOTHNESS, noise**2 / rough if rough else 0.0)
    found, iterations = _solved(stacks, start, None, weight)
    return JointVolume(found, weight, iterations)


def joint_projection(
    stacks: Sequence[StackData], volume: np.ndarray, tau: float = 0.0
) -> JointVolume:
    """Return the volume nearest to another one that meets several stacks.

    It minimises ``sum_i w_i ||y_i - A_i x||^2 + tau ||x - volume||^2`` by conjugate gradients on
    the change; without ``tau`` the change is the smallest one that meets the data.

    Args:
        stacks: the data.
        volume: (n, h, w).
        tau: variance of the noise over that of the volume's error.
    """
    found, iterations = _solved(stacks, volume, volume, tau)
    return JointVolume(found, tau, iterations)


def _solved(
    stacks: Sequence[StackData], start: np.ndarray, near: np.ndarray | None, weight: float
) -> tuple[np.ndarray, int]:
    """Solve the normal equations of a change of ``start``, by `scipy.sparse.linalg.cg`.

    Returns the volume and the number of iterations.
    """
    from scipy.sparse.linalg import LinearOperator, cg

    shape, iterations = start.shape, 0

    def penalty(x: np.ndarray) -> np.ndarray:
        return np.asarray(weight * (_second_differences(x) if near is None else x), x.dtype)

    def gathered(parts: Iterable[np.ndarray], total: np.ndarray) -> np.ndarray:
        for one, part in zip(stacks, parts, strict=True):
            total += one.operator.adjoint(np.asarray(one.weight * part, part.dtype))
        return total

    def normal(flat: np.ndarray) -> np.ndarray:
        x = flat.reshape(shape)
        seen = (one.operator(x) * one.operator.inside for one in stacks)
        return gathered(seen, penalty(x)).ravel()

    def count(_: np.ndarray) -> None:
        nonlocal iterations
        iterations += 1

    whole = gathered((one.values * one.operator.inside for one in stacks), np.zeros_like(start))
    least = _TOLERANCE * float(np.linalg.norm(whole))
    del whole  # volumes are large
    pull = penalty(-start if near is None else near - start)
    pull = gathered((one.missed(start) for one in stacks), pull)
    size = math.prod(shape)
    matrix: Any = LinearOperator((size, size), matvec=normal, dtype=start.dtype)
    limits = {"rtol": 0.0, "atol": least, "maxiter": _ITERATIONS}
    change, _ = cg(matrix, pull.ravel(), callback=count, **limits)
    return start + change.reshape(shape), iterations


def _second_differences(x: np.ndarray) -> np.ndarray:
    """Return D^T D x, with the second differences D along all axes."""
    total = np.zeros_like(x)
    for axis in range(x.ndim):
        moved, result = np.moveaxis(x, axis, 0), np.moveaxis(total, axis, 0)
        second = np.diff(moved, 2, axis=0)
        result[:-2] += second
        result[1:-1] -= 2 * second
        result[2:] += second
    return total


def average_estimates(
    first: np.ndarray, others: Sequence[np.ndarray], thickness: Sequence[np.ndarray]
) -> np.ndarray:
    """Return the average of estimates of a volume, by what each one's stack measured.

    At each frequency an estimate has the squared response of a Gaussian slice profile as its
    weight, and a little more: along a stack's slice axis, fine detail comes from the others.

    Args:
        first: (n, h, w), the estimate from the first stack.
        others: estimates from the others; where they know nothing, that of the first one.
        thickness: for each, the first included, a vector along its slice axis as long as a slice is
            thick, in voxels.

    Returns:
        (n, h, w), of the type of the first.
    """
    from scipy.fft import fftfreq, irfftn, rfftfreq, rfftn

    n, h, w = first.shape
    rest = fftfreq(h)[:, None], rfftfreq(w)[None, :]
    total: Any = 0
    for number, other in enumerate(others, 1):
        spectrum = rfftn(other - first)
        for plane, k in zip(spectrum, fftfreq(n), strict=True):
            weights = []
            for vector in thickness:
                along = k * vector[0] + rest[0] * vector[1] + rest[1] * vector[2]
                weights.append(np.exp(-((2 * np.pi / FWHM * along) ** 2)) + _UNMEASURED)
            plane *= weights[number] / sum(weights)
        total = total + spectrum
    return np.asarray(first + irfftn(total, first.shape), first.dtype)
