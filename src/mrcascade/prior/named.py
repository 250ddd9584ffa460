"""Priors by name, for functions that take a prior."""

from functools import cache
from pathlib import Path

from mrcascade.errors import MRCascadeError
from mrcascade.prior.cascade import CascadePrior
from mrcascade.prior.format import list_priors


def as_prior(prior: CascadePrior | str | Path) -> CascadePrior:
    """Return a prior as it is, or load it on the CPU by its name, folder or repository.

    Bundled priors are loaded once and kept. Raises MRCascadeError as
    ``CascadePrior.from_pretrained``.
    """
    if isinstance(prior, CascadePrior):
        return prior
    return _bundled(prior) if prior in list_priors() else CascadePrior.from_pretrained(prior)


def check_digest(prior: CascadePrior, digest: str) -> None:
    """Raise MRCascadeError if a prior that another process named is not the same here."""
    if prior.identity != digest:
        raise MRCascadeError(
            f"prior {prior.name!r} has other weights on this worker than where the command was"
            " started; give a folder that all workers see"
        )


@cache
def _bundled(name: str) -> CascadePrior:
    return CascadePrior.from_pretrained(name)
