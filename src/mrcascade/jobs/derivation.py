"""Descriptions of result images for their headers."""

from __future__ import annotations

from mrcascade.arrays.factors import factor_label
from mrcascade.io import Derivation
from mrcascade.jobs.request import SuperResolution


def derivation_of(
    job: SuperResolution, key: str, window: tuple[float, float], prior: str
) -> Derivation:
    """Describe an image of a result.

    Args:
        job: the job that made it.
        key: "result", "sample" or "std".
        window: darkest and brightest value to show.
        prior: name of the prior, which least squares do without.
    """
    what = {
        "result": "super-resolved" if job.samples == 1 else "mean of super-resolved samples",
        "sample": "one super-resolved sample",
        "std": "standard deviation of super-resolved samples",
    }[key]
    grid = changed_grid(job, f"in-plane matrix enlarged {factor_label(job.factor)}")
    return Derivation(
        label=f"{job.label}{'' if key == 'result' else key}",
        text=f"{what}, {grid} by mrcascade",
        window=window,
        number=1 + ("result", "sample", "std").index(key),
        prior="" if job.least_squares else prior,
        quantity=key == "std",
        pseudonyms=job.deidentify,
    )


def changed_grid(job: SuperResolution, enlarged: str) -> str:
    """Say how the grid of a result differs from that of its input.

    Args:
        job: the job that makes it.
        enlarged: words for planes that were enlarged.
    """
    stacks = " of several stacks" if job.combine is not None else ""
    thin = [f"thick slices{stacks} resolved into thin ones"] if job.isotropic is not None else []
    return " and ".join([*([enlarged] if job.in_plane or not thin else []), *thin])
