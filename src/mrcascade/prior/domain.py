"""The domain of a prior: the distribution of features over the images that it was made with.

How the features of an image are measured is in ``mrcascade.measurement.domain``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.networks import UNet
from mrcascade.prior.format import PRIOR_FILE, read_document
from mrcascade.storage.atomic import atomic_outputs

#: Fewest people from whom a distribution is estimated.
FEWEST_PEOPLE = 8
# Number of principal directions in which the images of a prior differ from each other.
_DIRECTIONS = 4
# Share of independent features of variance 1 in the covariance. Few people cannot tell the variance
# in every direction, and a direction in which they happened to agree must not count without bounds.
_SHRINKAGE = 0.5
# Share of people whose images lie within the limit.
_WITHIN = 0.95
_DIGITS = 5
_LARGEST = 1e6


@dataclass(frozen=True)
class DomainReference:
    """Distribution of features over the images of a prior, and the limit of what belongs to them.

    The distance of features ``f`` is Mahalanobis' distance per feature (Lee et al. 2018):

        z = (f - mean) / std,    distance^2 = z^T C^-1 z / d

    The covariance C of ``z`` is (1 - a) V diag(variances) V^T + a I with a = 1/2 and the leading
    principal directions V, the rows of ``directions``.

    Attributes:
        noise_levels: noise levels at which features are measured, in units of the standard
            deviation of the coarsest level.
        mean, std: (d,), of the features.
        directions: orthonormal rows of d values.
        variances: variance of ``z`` along each direction.
        limit: distance that 95 % of the people are within, when each is compared with the others.
        people: number of people whose images were used.
    """

    noise_levels: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    directions: tuple[tuple[float, ...], ...]
    variances: tuple[float, ...]
    limit: float
    people: int

    def score(self, features: np.ndarray) -> float:
        """Return the distance of features (d,) in units of the limit."""
        z = (features - np.array(self.mean)) / np.array(self.std)
        along = np.array(self.directions) @ z
        spread = (1 - _SHRINKAGE) * np.array(self.variances)
        squared = (z @ z - (spread / (spread + _SHRINKAGE)) @ along**2) / _SHRINKAGE
        return float(np.sqrt(max(squared, 0.0) / len(z)) / self.limit)

    @classmethod
    def fit(
        cls, features: np.ndarray, people: Sequence[str], noise_levels: Sequence[float]
    ) -> DomainReference:
        """Estimate the distribution.

        Every person has the same weight. The limit comes from distances of people to the
        distribution of all others; a person's distance is the largest of the files.

        Args:
            features: (n, d), a row per file.
            people: the person of each file.
            noise_levels: noise levels of the features.

        Raises:
            MRCascadeError: there are fewer than ``FEWEST_PEOPLE`` people.
        """
        owners = np.asarray(people)
        names = sorted(set(people))
        if len(names) < FEWEST_PEOPLE:
            raise MRCascadeError(
                f"the domain of a prior needs images of {FEWEST_PEOPLE} people or more; there are"
                f" {len(names)}"
            )
        distances = []
        for name in names:
            own = owners == name
            others = cls._of(features[~own], owners[~own], noise_levels)
            distances.append(max(others.score(row) for row in features[own]))
        fitted = cls._of(features, owners, noise_levels)
        return replace(fitted, limit=_rounded(float(np.quantile(distances, _WITHIN))))

    @classmethod
    def _of(
        cls, features: np.ndarray, owners: np.ndarray, noise_levels: Sequence[float]
    ) -> DomainReference:
        """Return the distribution with a limit of 1."""
        _, index, counts = np.unique(owners, return_inverse=True, return_counts=True)
        weights = 1 / counts[index] / len(counts)
        mean = weights @ features
        # A feature that never varies says nothing, and a rounding of it must not count.
        std = np.maximum(np.sqrt(weights @ (features - mean) ** 2), 1e-3)
        z = (features - mean) / std
        variances, vectors = np.linalg.eigh((z * weights[:, None]).T @ z)
        return cls(
            tuple(noise_levels),
            tuple(map(_rounded, mean)),
            tuple(map(_rounded, std)),
            tuple(tuple(map(_rounded, v)) for v in vectors.T[::-1][:_DIRECTIONS]),
            tuple(map(_rounded, variances[::-1][:_DIRECTIONS])),
            1.0,
            len(counts),
        )

    @classmethod
    def of_entry(cls, entry: Mapping[str, Any] | None, unet: UNet | None) -> DomainReference | None:
        """Read the entry ``domain`` of ``prior.json``; None for priors without one.

        unet: network of the coarsest level. Raises ValueError, TypeError or KeyError for an entry
        that is damaged or of other networks.
        """
        if entry is None:
            return None
        if unet is None:
            raise ValueError("a domain needs a denoiser at the coarsest level")
        lists = {
            key: tuple(float(v) for v in entry[key])
            for key in ("noise_levels", "mean", "std", "variances")
        }
        directions = tuple(tuple(float(v) for v in row) for row in entry["directions"])
        found = cls(
            **lists, directions=directions, limit=float(entry["limit"]), people=int(entry["people"])
        )
        lengths = {len(row) for row in (found.mean, found.std, *directions)}
        numbers = [v for values in (*lists.values(), *directions) for v in values]
        if (
            lengths != {2 * len(found.noise_levels) + unet.halving.width}
            or len(directions) != len(found.variances)
            or not found.noise_levels
            or not all(-_LARGEST <= v <= _LARGEST for v in (*numbers, found.limit))
            or min(*found.std, *found.noise_levels, found.limit) <= 0
            or min(found.variances, default=0) < 0
        ):
            raise ValueError("the domain's numbers do not fit the networks or are out of range")
        return found

    def entry(self) -> dict[str, Any]:
        """Return the entry ``domain`` of ``prior.json``."""
        return asdict(self)


def write_domain(folder: Path, reference: DomainReference) -> None:
    """Replace the domain of the prior in ``folder``; weights and other entries stay.

    Raises MRCascadeError if there is no prior, or it cannot be written.
    """
    document = read_document(folder) | {"domain": reference.entry()}
    with atomic_outputs([folder / PRIOR_FILE], overwrite=True) as (place,):
        place.write_text(json.dumps(document, indent=1) + "\n")


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
