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
_DIRECTIONS = {"losses": 4, "activations": 8}
# Share of independent features of variance 1 in the covariance. Few people cannot tell the variance
# in every direction, and a direction in which they happened to agree must not count without bounds.
_SHRINKAGE = 0.5
# Share of people whose images lie within the limit.
_WITHIN = 0.9
# A feature that hardly varies says nothing, and its rounding must not count.
_LEAST_STD = 1e-3
_LARGEST = 1e6  # magnitude of the numbers in a file


@dataclass(frozen=True)
class FeatureDistribution:
    """Distribution of one kind of features over the images of a prior.

    The distance of features ``f`` is Mahalanobis' distance per feature:

        z = (f - mean) / std,    distance^2 = z^T C^-1 z / d

    The covariance C of ``z`` is (1 - a) V^T diag(variances) V + a I with a = 1/2 and the leading
    principal directions V.

    Attributes:
        mean, std: (d,), of the features.
        directions: orthonormal rows of d values, V.
        variances: variance of ``z`` along each direction.
        limit: distance at which the score is 1.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    directions: tuple[tuple[float, ...], ...]
    variances: tuple[float, ...]
    limit: float = 1.0

    def score(self, features: np.ndarray) -> float:
        """Return the distance of features (d,) in units of the limit."""
        z = (features - np.array(self.mean)) / np.array(self.std)
        along = np.array(self.directions) @ z
        spread = (1 - _SHRINKAGE) * np.array(self.variances)
        squared = (z @ z - (spread / (spread + _SHRINKAGE)) @ along**2) / _SHRINKAGE
        return float(np.sqrt(max(squared, 0.0) / len(z)) / self.limit)

    @classmethod
    def fit(cls, features: np.ndarray, people: np.ndarray, directions: int) -> FeatureDistribution:
        """Estimate the distribution of features (n, d) of files; each person counts the same."""
        _, index, counts = np.unique(people, return_inverse=True, return_counts=True)
        weights = 1 / counts[index] / len(counts)
        mean = weights @ features
        std = np.maximum(np.sqrt(weights @ (features - mean) ** 2), _LEAST_STD)
        z = (features - mean) / std
        variances, vectors = np.linalg.eigh((z * weights[:, None]).T @ z)
        leading = slice(None, -1 - min(directions, len(mean)), -1)
        return cls(
            _rounded(mean),
            _rounded(std),
            tuple(map(_rounded, vectors.T[leading])),
            _rounded(np.maximum(variances[leading], 0)),
        )

    @classmethod
    def of_entry(cls, entry: Mapping[str, Any], features: int) -> FeatureDistribution:
        """Read an entry of ``prior.json`` about a number of features.

        Raises ValueError, TypeError or KeyError for a damaged entry.
        """
        mean, std, variances = (
            tuple(float(v) for v in entry[key]) for key in ("mean", "std", "variances")
        )
        directions = tuple(tuple(float(v) for v in row) for row in entry["directions"])
        limit = float(entry["limit"])
        rows = mean, std, *directions
        numbers = [v for row in (*rows, variances, (limit,)) for v in row]
        if (
            {len(row) for row in rows} != {features}
            or len(directions) != len(variances)
            or not all(-_LARGEST <= v <= _LARGEST for v in numbers)
            or min(*std, limit) <= 0
            or min(variances, default=0) < 0
        ):
            raise ValueError("the domain's numbers do not fit the networks or are out of range")
        return cls(mean, std, directions, variances, limit)


@dataclass(frozen=True)
class DomainReference:
    """Distribution of features over the images of a prior, and the limit of what belongs to them.

    Attributes:
        noise_levels: noise levels at which features are measured, in units of the standard
            deviation of the coarsest level.
        losses: distribution of the features of the denoiser's error, two per noise level.
        activations: distribution of mean activations of the network (Lee et al. 2018).
        people: number of people whose images were used.
    """

    noise_levels: tuple[float, ...]
    losses: FeatureDistribution
    activations: FeatureDistribution
    people: int

    def score(self, features: np.ndarray) -> float:
        """Return the larger score of the two kinds of features (d,), losses first."""
        losses, activations = np.split(features, [2 * len(self.noise_levels)])
        return max(self.losses.score(losses), self.activations.score(activations))

    @classmethod
    def fit(
        cls, features: np.ndarray, people: Sequence[str], noise_levels: Sequence[float]
    ) -> DomainReference:
        """Estimate the distribution.

        Every person has the same weight. Limits are set so that 90 % of the people have a score of
        1 or less when each is compared with all others; a person's score is the largest of the
        files.

        Args:
            features: (n, d), a row per file.
            people: the person of each file.
            noise_levels: noise levels of the features.

        Raises:
            MRCascadeError: there are fewer than ``FEWEST_PEOPLE`` people.
        """
        owners, names = np.asarray(people), sorted(set(people))
        if len(names) < FEWEST_PEOPLE:
            raise MRCascadeError(
                f"the domain of a prior needs images of {FEWEST_PEOPLE} people or more; there are"
                f" {len(names)}"
            )
        kinds = np.split(features, [2 * len(noise_levels)], axis=1)
        fits, distances = [], []
        for rows, count in zip(kinds, _DIRECTIONS.values(), strict=True):
            fits.append(FeatureDistribution.fit(rows, owners, count))
            distances.append([_left_out(rows, owners, name, count) for name in names])
        alone = np.quantile(distances, _WITHIN, axis=1)
        both = np.quantile((distances / alone[:, None]).max(0), _WITHIN)
        losses, activations = (
            replace(fitted, limit=limit)
            for fitted, limit in zip(fits, _rounded(alone * both), strict=True)
        )
        return cls(tuple(noise_levels), losses, activations, len(names))

    @classmethod
    def of_entry(cls, entry: Mapping[str, Any] | None, unet: UNet | None) -> DomainReference | None:
        """Read the entry ``domain`` of ``prior.json``; None for priors without one.

        unet: network of the coarsest level. Raises ValueError, TypeError or KeyError for an entry
        that is damaged or of other networks.
        """
        if entry is None:
            return None
        levels = tuple(float(v) for v in entry["noise_levels"])
        if unet is None or not levels or not all(0 < v <= _LARGEST for v in levels):
            raise ValueError("a domain needs noise levels above 0 and a denoiser")
        return cls(
            levels,
            FeatureDistribution.of_entry(entry["losses"], 2 * len(levels)),
            FeatureDistribution.of_entry(entry["activations"], unet.halving.width),
            int(entry["people"]),
        )

    def entry(self) -> dict[str, Any]:
        """Return the entry ``domain`` of ``prior.json``."""
        return asdict(self)


def _left_out(rows: np.ndarray, owners: np.ndarray, name: str, directions: int) -> float:
    """Return the largest distance of a person's files to the distribution of all others."""
    own = owners == name
    others = FeatureDistribution.fit(rows[~own], owners[~own], directions)
    return max(others.score(row) for row in rows[own])


def write_domain(folder: Path, reference: DomainReference) -> None:
    """Replace the domain of the prior in ``folder``; weights and other entries stay.

    Raises MRCascadeError if there is no prior, or it cannot be written.
    """
    document = read_document(folder) | {"domain": reference.entry()}
    with atomic_outputs([folder / PRIOR_FILE], overwrite=True) as (place,):
        place.write_text(json.dumps(document, indent=1) + "\n")


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{value:.5g}") for value in values)
