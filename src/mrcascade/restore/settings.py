"""Settings of a sampler: what a mode's name, a prior and the number of samples stand for."""

from __future__ import annotations

from mrcascade.errors import MRCascadeError
from mrcascade.messages.printable import shortened
from mrcascade.prior.cascade import CascadePrior
from mrcascade.prior.format import PRIOR_FILE
from mrcascade.recipes.modes import default_mode
from mrcascade.recipes.settings import read_mode
from mrcascade.sampling import RECIPES, SamplerSettings, single_scale


def resolve_settings(
    prior: CascadePrior,
    mode: str | SamplerSettings | None,
    steps: int | None = None,
    samples: int = 1,
) -> SamplerSettings:
    """A recipe with the values that the prior tunes, and another T if one is given.

    ``mode`` may change settings of a recipe, each by ``:KEY=VALUE`` (`parse_changes`) after its
    name, such as "mean:orientations=8"; None is the default for so many samples
    (`default_mode`). Raises MRCascadeError for a recipe that the prior does not have or cannot
    run, and for one that cannot give the samples.
    """
    mode = default_mode(samples) if mode is None else mode
    settings = _recipe(prior, mode, samples) if isinstance(mode, str) else mode
    if settings.steps is not None and not prior.generative:
        raise MRCascadeError(
            f"prior {prior.name!r} is a regression network and has no samples; use mode 'mean'"
        )
    if settings.grids is not None:
        single_scale(prior)
    check_samples(samples, settings)
    if steps is None:
        return settings
    if settings.steps is None:
        raise MRCascadeError(f"mode {settings.name!r} has no chain of steps; drop --steps")
    return settings.changed(steps=steps)


def _recipe(prior: CascadePrior, mode: str, samples: int) -> SamplerSettings:
    """The settings that a mode's name and changes stand for."""
    name, changed = read_mode(mode)
    # Samples of noisy data with less fresh noise would spread less than they err.
    spreading = samples > 1 and "observed_zeta" in RECIPES[name].tunable
    full = {"observed_zeta": 1.0} if spreading else {}
    try:
        tuned = RECIPES[name].changed(**{**full, **prior.tuned(name)})
        return tuned.changed(**changed)
    except (MRCascadeError, TypeError, ValueError) as error:  # what was changed is right by itself
        raise MRCascadeError(
            f"prior {prior.name!r}: 'sampling' in its {PRIOR_FILE} has a setting of {name!r}"
            f" that does not exist or does not fit ({shortened(str(error))}); fetch the prior again"
        ) from error


def check_samples(samples: int, settings: SamplerSettings) -> None:
    """Raise MRCascadeError unless the settings can give that many samples."""
    if samples < 1:
        raise MRCascadeError("the number of samples must be 1 or more")
    if samples == 1:
        return
    if not settings.draws:
        raise MRCascadeError(
            f"mode {settings.name!r} has one result; for {samples} samples use mode 'sample'"
        )
    if not settings.full_detail:
        raise MRCascadeError(
            f"mode {settings.name!r} moves a sample towards the mean, so that samples would spread"
            f" too little; for {samples} samples use mode 'sample'"
        )
