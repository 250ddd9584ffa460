"""Sampler settings that follow from a mode's name, a prior and the number of samples."""

from __future__ import annotations

from mrcascade.errors import MRCascadeError
from mrcascade.messages.printable import shortened
from mrcascade.prior.cascade import CascadePrior
from mrcascade.prior.format import PRIOR_FILE
from mrcascade.recipes.modes import default_mode
from mrcascade.recipes.settings import read_mode
from mrcascade.sampling import RECIPES, Recipe, single_scale


def resolve_settings(
    prior: CascadePrior,
    mode: str | Recipe | None,
    steps: int | None = None,
    samples: int = 1,
) -> Recipe:
    """Return the settings of a recipe, with the values that the prior tunes.

    Args:
        prior: prior that the sampler will run.
        mode: name of a recipe, or settings. ``:KEY=VALUE`` after a name changes a setting
            (`parse_changes`), as in "mean:orientations=8". None takes the default for the number
            of samples (`default_mode`).
        steps: number of steps T; None keeps the recipe's.
        samples: number of samples per slice.

    Raises:
        MRCascadeError: the recipe is unknown, the prior cannot run it, or it cannot give the
            samples.
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


def _recipe(prior: CascadePrior, mode: str, samples: int) -> Recipe:
    """Return the settings of a mode's name with its changes."""
    name, changed = read_mode(mode)
    # With less fresh noise, samples of noisy data would spread less than their error. A sampler
    # without ``zeta`` adds all of it.
    spreading = samples > 1 and {"zeta", "observed_zeta"} <= set(RECIPES[name].tunable)
    full = {"observed_zeta": 1.0} if spreading else {}
    try:
        tuned = RECIPES[name].changed(**{**full, **prior.tuned(name)})
        return tuned.changed(**changed)
    except (MRCascadeError, TypeError, ValueError) as error:  # the user's changes alone are valid
        raise MRCascadeError(
            f"prior {prior.name!r}: 'sampling' in its {PRIOR_FILE} has a setting of {name!r}"
            f" that does not exist or does not fit ({shortened(str(error))}); fetch the prior again"
        ) from error


def check_samples(samples: int, settings: Recipe) -> None:
    """Raise MRCascadeError unless the settings can draw this number of samples per slice."""
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
