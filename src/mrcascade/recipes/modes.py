"""The table of modes: a description, the traversal that runs, and its audience.

It is free of torch, so that the command answers at once. A new sampler is a file in ``samplers``
and an entry here.
"""

from __future__ import annotations

from dataclasses import dataclass

from mrcascade.errors import MRCascadeError
from mrcascade.recipes.guidance import Gradient
from mrcascade.recipes.options import Schedule
from mrcascade.recipes.samplers.ancestral import Ancestral
from mrcascade.recipes.samplers.multistep import Multistep
from mrcascade.recipes.traversals import Cascade, Mean, Multigrid, MultigridPnP, Traversal


@dataclass(frozen=True)
class Mode:
    """A named way to reconstruct.

    Attributes:
        about: description in one line, for lists.
        run: traversal with the default options.
        use: what it is for, in a few words; empty for methods to compare with.
        cost: operations of the networks in units of those of "mean", at 4x without noise by
            `mr-small` (``mrcascade benchmark``); None where not known.
        compared: whether it is a published method of other authors, for comparison.
    """

    about: str
    run: Traversal
    use: str = ""
    cost: float | None = None
    compared: bool = False


#: All modes by name, in the order of lists.
TABLE: dict[str, Mode] = {
    "mean": Mode(
        "posterior mean, the best PSNR; a few network evaluations per level, no steps",
        Mean(),
        use="measuring and further processing: the best PSNR, a little smooth",
        cost=1.0,
    ),
    "balanced": Mode(
        "posterior sample whose coarse detail is moved towards the mean; T = 24",
        Cascade(sampler=Multistep(), schedule=Schedule(24), detail=(1.0, 0.6)),
        use="a single sharp image",
        cost=2.2,
    ),
    "sample": Mode(
        "posterior sample, what --samples K draws; T = 24",
        Cascade(sampler=Multistep(), schedule=Schedule(24)),
        use="uncertainty: samples, their mean and standard deviation (per sample)",
        cost=1.9,
    ),
    "paper": Mode(
        "posterior sample with the schedule of the paper, for reproduction; T = 200",
        Cascade(),
        use="reproduction of the paper",
        cost=13.0,
    ),
    "dps": Mode(
        "diffusion posterior sampling; T = 200",
        Cascade(sampler=Ancestral(), guidance=Gradient(), observed=None),
        compared=True,
    ),
    "multigrid": Mode(
        "Multi-Grid PnP, diffusion form, for priors of one level; T = 200",
        Multigrid(),
        compared=True,
    ),
    "multigrid-pnp": Mode(
        "Multi-Grid PnP, deterministic form, for priors of one level; T = 200",
        MultigridPnP(),
        compared=True,
    ),
}
#: Descriptions of the modes for users, and of those that ``mrcascade evaluate`` compares with.
MODES = {name: mode.about for name, mode in TABLE.items() if not mode.compared}
COMPARED = {name: mode.about for name, mode in TABLE.items() if mode.compared}


def default_mode(samples: int) -> str:
    """Return the mode of a job that names none: "sample" for several samples, else "mean"."""
    return "sample" if samples > 1 else "mean"


def known_modes() -> str:
    """Return the names of all modes in one line, those for users first."""
    return f"{', '.join(MODES)} (for comparison: {', '.join(COMPARED)})"


def about_modes() -> str:
    """Return the descriptions, one line per mode."""
    return "\n".join(f"{name}: {about}" for name, about in (MODES | COMPARED).items())


def check_mode(name: str) -> None:
    """Raise MRCascadeError unless ``name``, without settings after it, is a mode."""
    if name not in TABLE:
        raise MRCascadeError(f"unknown mode {name!r}: choose one of {known_modes()}")
