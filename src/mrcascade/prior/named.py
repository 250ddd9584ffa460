"""Priors by name, wherever a function takes a prior."""

from functools import cache
from pathlib import Path

from mrcascade.prior.cascade import CascadePrior
from mrcascade.prior.format import list_priors


def as_prior(prior: CascadePrior | str | Path) -> CascadePrior:
    """The prior itself, or the one of a bundled prior's name or of a folder, on the CPU.

    A bundled prior is read once and kept. Raises MRCascadeError as
    ``CascadePrior.from_pretrained``.
    """
    if isinstance(prior, CascadePrior):
        return prior
    return _bundled(prior) if prior in list_priors() else CascadePrior.from_pretrained(prior)


@cache
def _bundled(name: str) -> CascadePrior:
    return CascadePrior.from_pretrained(name)
