"""Names of the modes and one line about each; free of torch, so that the command answers at once.

What each mode computes stands in ``recipes.settings.RECIPES``, which has the same names.
"""

from mrcascade.errors import MRCascadeError

#: Modes for users, in the order in which lists show them.
MODES = {
    "mean": "posterior mean, the best PSNR; a few network evaluations per level, no steps",
    "balanced": "posterior sample whose coarse detail is moved towards the mean; T = 200",
    "sample": "posterior sample, what --samples K draws; T = 48",
    "paper": "posterior sample with the schedule of the paper, for reproduction; T = 200",
}
#: Samplers of other authors; they are there to be compared with, in ``mrcascade evaluate``.
COMPARED = {
    "dps": "diffusion posterior sampling; T = 200",
    "multigrid": "Multi-Grid PnP, diffusion form, for priors of one level; T = 200",
    "multigrid-pnp": "Multi-Grid PnP, deterministic form, for priors of one level; T = 200",
}
#: Whose tuned settings a mode takes where a prior has none of the mode's own.
TUNED_AS = {"sample": "paper"}


def default_mode(samples: int) -> str:
    """Mode of a job that names none: "sample" for several samples, else "mean"."""
    return "sample" if samples > 1 else "mean"


def known_modes() -> str:
    """The names in one line, those for users first."""
    return f"{', '.join(MODES)} (for comparison: {', '.join(COMPARED)})"


def about_modes() -> str:
    """One line per mode."""
    return "\n".join(f"{name}: {about}" for name, about in (MODES | COMPARED).items())


def check_mode(name: str) -> None:
    """Raise MRCascadeError unless ``name``, without settings after it, is a mode."""
    if name not in MODES | COMPARED:
        raise MRCascadeError(f"unknown mode {name!r}: choose one of {known_modes()}")
