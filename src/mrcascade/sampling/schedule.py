"""Noise levels of a chain, and the split of T steps over the levels of a cascade."""

import math
from collections.abc import Mapping, Sequence

from mrcascade.errors import MRCascadeError


def karras_sigmas(
    steps: int, sigma_max: float, sigma_min: float, rho: float = 7.0
) -> tuple[float, ...]:
    """Return decreasing noise levels from sigma_max to sigma_min, both included.

    The formula is Karras et al. 2022, eq. 5, without the final zero:
    ``(sigma_max^(1/rho) + k/(steps-1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho``.

    Args:
        steps: number of noise levels >= 1; a single one is sigma_max.
        sigma_max, sigma_min: in the same unit, ``sigma_max > sigma_min > 0``.
        rho: > 0; larger values put more levels near sigma_min.

    Raises:
        MRCascadeError: a value is out of range.
    """
    if steps < 1:
        raise MRCascadeError(f"a noise schedule needs 1 step or more; got {steps}")
    if not 0 < sigma_min < sigma_max < math.inf:
        raise MRCascadeError(
            f"a noise schedule needs 0 < sigma_min < sigma_max; got {sigma_min} and {sigma_max}"
        )
    if not rho > 0:
        raise MRCascadeError(f"rho of a noise schedule must be > 0; got {rho}")
    if steps == 1:
        return (sigma_max,)
    start, end = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    inner = ((start + k / (steps - 1) * (end - start)) ** rho for k in range(1, steps - 1))
    return (sigma_max, *inner, sigma_min)  # exact ends, without rounding


def split_steps(
    total: int,
    levels: Sequence[int],
    sampled: Sequence[int] | None = None,
    shares: Mapping[int, float] | None = None,
) -> dict[int, int]:
    """Split T steps over levels by their shares, rounded down.

    The remainder goes to the coarsest sampled level, or to the coarsest level if none is sampled.

    Args:
        total: T, at least one step per level.
        levels: levels that share T; larger numbers are coarser.
        sampled: levels that run a chain; all by default.
        shares: level -> share > 0, in any unit; equal by default, ``total // len(levels)`` each.

    Returns:
        Level -> number of steps.

    Raises:
        MRCascadeError: a level would have no step.
    """
    shares = dict.fromkeys(levels, 1.0) if shares is None else shares
    whole = sum(shares[level] for level in levels)
    # Shares such as 0.1 are inexact; rounding must not cost a whole number of steps one of them.
    steps = {level: math.floor(total * shares[level] / whole + 1e-9) for level in levels}
    if not steps or min(steps.values()) < 1:
        raise MRCascadeError(
            f"{total} steps cannot be split over {len(levels)} levels; raise the steps"
        )
    steps[max(sampled or levels)] += total - sum(steps.values())
    return steps
