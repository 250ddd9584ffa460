"""The domain of a prior, from the volumes that trained and validated it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mrcascade.measurement.domain import NOISE_LEVELS, domain_features
from mrcascade.prior.cascade import CascadePrior
from mrcascade.prior.domain import FEWEST_PEOPLE, DomainReference
from mrcascade.training.selection import volume_subject
from mrcascade.training.volume import Volume

# Number of files of one person that count, so that eight echoes cost no more than two contrasts.
_MOST_FILES = 4


def domain_of(volumes: Sequence[Volume], prior: CascadePrior) -> DomainReference | None:
    """Return the distribution of features over training and validation volumes.

    Validation alone has too few people for it. That the networks have seen the training images
    matters little: features of the coarsest level differ far more between people.

    Args:
        volumes: the volumes; those of one person may be in one split only.
        prior: the prior with its weights.

    Returns:
        The reference; None if the coarsest level has no denoiser, or if there are fewer than
        ``FEWEST_PEOPLE`` people.
    """
    if prior.levels[-1].networks.unet is None:
        return None
    chosen: dict[str, list[Volume]] = {}
    for volume in volumes:
        files = chosen.setdefault(volume_subject(volume), [])
        if len(volume.slices) and len(files) < _MOST_FILES:
            files.append(volume)
    chosen = {person: files for person, files in chosen.items() if files}
    if len(chosen) < FEWEST_PEOPLE:
        return None
    people = [person for person, files in chosen.items() for _ in files]
    rows = [_features(volume, prior) for files in chosen.values() for volume in files]
    return DomainReference.fit(np.stack(rows), people, NOISE_LEVELS)


def _features(volume: Volume, prior: CascadePrior) -> np.ndarray:
    unit = next(iter(volume.scales.values()))
    stack = np.stack(list(volume.slices)) / unit
    return domain_features(stack, stack.shape[1:], prior)
