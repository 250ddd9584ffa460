"""Options of thick slices that fit together, and with the mode; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from mrcascade.errors import MRCascadeError
from mrcascade.measurement.thick import LEAST_SQUARES
from mrcascade.recipes.modes import check_mode
from mrcascade.recipes.recipe import RECIPES, Recipe
from mrcascade.recipes.traversals import Mean

#: How several stacks are brought together.
PLACEMENTS = ("headers", "rigid")


@dataclass(frozen=True)
class ThickOptions:
    """Options of a job that thick slices restrict.

    Attributes:
        isotropic: whether slices become thin.
        in_plane: whether planes are enlarged.
        mode: name of a recipe, perhaps with changes, or "lsq"; or a recipe.
        samples: number of samples.
        combine: how several stacks become one volume; None where each stays by itself.
        steps, noise: as given; None where they are not.
    """

    isotropic: bool
    in_plane: bool
    mode: str | Recipe
    samples: int = 1
    combine: str | None = None
    steps: int | None = None
    noise: float | None = None

    def check(self) -> None:
        """Raise MRCascadeError where the options do not fit together."""
        if isinstance(self.mode, str) and self.mode.startswith(f"{LEAST_SQUARES}:"):
            raise MRCascadeError(f"mode {self.mode!r}: {LEAST_SQUARES!r} has no settings")
        if self.isotropic:
            self._check_slices()
        elif self._least_squares:
            raise MRCascadeError(f"mode {LEAST_SQUARES!r} is one of --isotropic; add that")
        if self.combine is not None:
            self._check_stacks(self.combine)

    @property
    def _least_squares(self) -> bool:
        return self.mode == LEAST_SQUARES

    @property
    def _mean(self) -> bool:
        recipe = self.mode
        if isinstance(recipe, str):
            name = recipe.partition(":")[0]
            check_mode(name)
            recipe = RECIPES[name]
        return isinstance(recipe.run, Mean)

    def _check_slices(self) -> None:
        if self._least_squares:
            unused = {"steps": self.steps is not None, "samples": self.samples > 1}
            unused["noise"] = self.noise is not None and self.combine is None
            if named := [f"--{key}" for key, given in unused.items() if given]:
                raise MRCascadeError(
                    f"mode {LEAST_SQUARES!r} has no use for {' and '.join(named)}; leave that out,"
                    " or choose another mode"
                )
        if self.in_plane and (self.samples > 1 or self._least_squares or not self._mean):
            raise MRCascadeError(
                "--isotropic with --factor restores by mode 'mean' alone; leave --factor out, or"
                " restore in plane first and give the result to --isotropic"
            )

    def _check_stacks(self, combine: str) -> None:
        if combine not in PLACEMENTS:
            raise MRCascadeError(f"combine {combine!r}: choose {' or '.join(PLACEMENTS)}")
        if not self.isotropic:
            raise MRCascadeError("--combine makes an isotropic volume of stacks; add --isotropic")
        if self.in_plane:
            raise MRCascadeError(
                "--combine takes its detail from the stacks; leave --factor out, or enlarge the"
                " planes of each stack first and give the results"
            )
        if self.samples > 1 or not (self._least_squares or self._mean):
            raise MRCascadeError(
                "--combine restores by modes 'mean' and 'lsq' alone; for posterior samples restore"
                " one stack without --combine"
            )
