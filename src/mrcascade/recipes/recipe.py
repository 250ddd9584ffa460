"""Recipes: a name and a traversal with its options, also written flat; one recipe per mode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from inspect import cleandoc
from typing import Any

from mrcascade.errors import MRCascadeError
from mrcascade.recipes.guidance import GUIDANCE, Gradient
from mrcascade.recipes.modes import TABLE, about_modes
from mrcascade.recipes.options import (
    Levels,
    NoiseLevels,
    Observed,
    OptionSet,
    Schedule,
    at_level,
    by_level,
    flat,
    with_flat,
)
from mrcascade.recipes.samplers.diffpir import DiffPIR
from mrcascade.recipes.traversals import (
    Cascade,
    Chains,
    Mean,
    Multigrid,
    MultigridPnP,
    Traversal,
)

#: Traversal for each value of the flat option ``sampler``, with defaults. Where several modes have
#: one kind, the last one sets them: "paper" for "diffpir", "sample" for "multistep".
KINDS: dict[str, Traversal] = {mode.run.kind: mode.run for mode in TABLE.values()}

#: Order of the options in records and messages; other names follow.
_ORDER = (
    *("step_size", "zeta", "lam", "noise_floor", "project", "sigma_start", "sigma_min"),
    *("start_at_mean", "start_at_data", "observed_zeta", "rho", "consistency", "skip_determined"),
    *("step_shares", "redistribute", "band_constraint", "condition_error", "orientations"),
    *("detail", "spread", "grids", "pnp_sigma", "pnp_step", "pnp_corrections"),
)
#: Former options, each with its one remaining value and a current option of the same readers.
#: Records keep them, so that results of earlier versions can be told apart.
_RETIRED = {"redistribute": ("skip_determined", False), "pnp_corrections": ("pnp_step", 0)}
_KNOWN = frozenset().union(*(flat(part) for part in (*KINDS.values(), *GUIDANCE.values())))


@dataclass(frozen=True, init=False, repr=False)
class Recipe:
    """Recipe of a reconstruction: a name for reports, and the traversal that runs.

    Options may be given flat, under their names in ``--mode NAME:KEY=VALUE`` and ``prior.json``.
    ``sampler`` chooses the traversal ("diffpir" by default), ``guidance`` the data consistency of
    its chains, and ``steps=None`` the conditional mean. An option without effect is refused.

    Args:
        name: name of the recipe in reports.
        run: the traversal; by default that of ``sampler``.
        options: values of options, by flat name.

    Raises MRCascadeError for values out of range and for options without effect.

    Example:
        >>> from mrcascade import Recipe
        >>> recipe = Recipe("mine", sampler="dps", step_size=3.0)
        >>> recipe
        Recipe('mine', sampler='dps', step_size=3.0)
        >>> recipe.run.guidance
        Gradient(step_size=3.0)
        >>> recipe.changed(guidance="proximal", lam=2.0).run.guidance
        Proximal(lam=2.0, noise_floor=0.0)
        >>> recipe.changed(zeta=0.5)
        Traceback (most recent call last):
            ...
        mrcascade.errors.MRCascadeError: settings 'mine': zeta has no effect on sampler 'dps'; ...
    """

    name: str
    run: Traversal

    def __init__(self, name: str, run: Traversal | None = None, **options: Any) -> None:
        try:
            chosen = _chosen(run, options)
        except MRCascadeError as error:
            raise MRCascadeError(f"settings '{name}': {error}") from error
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "run", chosen)

    def changed(self, **options: Any) -> Recipe:
        """Return the recipe with other values of some options, by flat name.

        Another ``guidance`` begins with its own defaults. Another ``sampler`` keeps the options
        that both have.
        """
        return Recipe(self.name, self.run, **options)

    def __getattr__(self, name: str) -> Any:
        """Return the value of an option, by flat name."""
        options = {} if name.startswith("_") or name == "run" else flat(self.run)
        if name not in options:
            raise AttributeError(f"the recipe has no option {name!r}")
        return options[name]

    def __repr__(self) -> str:
        """Return the call that makes the recipe."""
        if self.kind not in KINDS:
            return f"Recipe({self.name!r}, {self.run!r})"
        base = flat(KINDS[self.kind])
        given = {"steps": None} if isinstance(self.run, Mean) else {"sampler": self.kind}
        given |= self._other_guidance()
        given |= {k: v for k, v in flat(self.run).items() if k not in base or v != base[k]}
        return f"Recipe({', '.join([repr(self.name), *(f'{k}={v!r}' for k, v in given.items())])})"

    @property
    def kind(self) -> str:
        """Kind of the traversal, the value of the flat option ``sampler``."""
        return self.run.kind

    @property
    def steps(self) -> int | None:
        """T; None for the conditional mean, which has no chain."""
        return None if self.schedule is None else self.schedule.steps

    @property
    def schedule(self) -> Schedule | None:
        """Distribution of the steps; None for the conditional mean."""
        return None if isinstance(self.run, Mean) else self.run.schedule

    @property
    def levels(self) -> Levels:
        """Dependence of the levels on each other; the defaults for grids."""
        return self.run.levels if isinstance(self.run, Mean | Cascade) else Levels()

    @property
    def grids(self) -> int | None:
        """G of a multi-grid traversal, which needs a prior of one level; None for a cascade."""
        return self.run.grids if isinstance(self.run, Multigrid | MultigridPnP) else None

    @property
    def project(self) -> bool:
        """Whether each level with exact data ends with the projection onto them."""
        return self.run.project

    @property
    def spread(self) -> float:
        """Factor on the standard deviation over samples."""
        return self.run.spread if isinstance(self.run, Chains) else 1.0

    @property
    def draws(self) -> bool:
        """Whether the result depends on the seed, so that several samples make sense."""
        return isinstance(self.run, Chains)

    @property
    def gradients(self) -> bool:
        """Whether chains follow a gradient through the network."""
        run = self.run
        return isinstance(run, Chains) and isinstance(run.guidance, Gradient)

    @property
    def full_detail(self) -> bool:
        """Whether a sample keeps all of its detail."""
        return not isinstance(self.run, Cascade) or set(by_level(self.run.detail)) == {1}

    def orientations_at(self, level: int) -> int:
        """Return ``orientations`` of one level, 1 the finest."""
        run = self.run
        return 1 if isinstance(run, MultigridPnP) else int(at_level(level, run.orientations))

    def detail_at(self, level: int) -> float:
        """Return ``detail`` of one level, 1 the finest."""
        run = self.run
        return float(at_level(level, run.detail)) if isinstance(run, Cascade) else 1.0

    @property
    def tunable(self) -> tuple[str, ...]:
        """Flat names of the options, without ``steps``."""
        return _tunable(self.run)

    def record(self, samples: int) -> dict[str, Any]:
        """Return all options that a result depends on, for files.

        ``spread`` is left out for one sample, where it has no effect.
        """
        options = flat(self.run)
        retired = {k: value for k, (beside, value) in _RETIRED.items() if beside in options}
        options = dict(sorted((options | retired).items(), key=lambda item: _place(item[0])))
        if samples == 1:
            options.pop("spread", None)
        what = {"name": self.name, "steps": options.pop("steps", None)}
        if not isinstance(self.run, Mean):
            what["sampler"] = self.kind
        return {**what, **options, **self._other_guidance()}

    def _other_guidance(self) -> dict[str, Any]:
        """Return the flat option ``guidance`` where it is not the traversal's own."""
        run, own = self.run, KINDS.get(self.kind)
        if not isinstance(run, Chains):
            return {}
        name = run.guidance.name
        same = isinstance(own, Chains) and name == own.guidance.name
        return {} if same else {"guidance": name}


def _chosen(run: Traversal | None, options: Mapping[str, Any]) -> Traversal:
    """Return the traversal with these options, by flat name."""
    values = dict(options)
    run = _traversal(run, values)
    for name, (_, only) in _RETIRED.items():
        if values.pop(name, only) != only:
            raise MRCascadeError(f"{name} is always {str(only).lower()} in this version")
    if isinstance(run, Chains) and "guidance" in values:
        name = values.pop("guidance")
        if name not in GUIDANCE:
            raise MRCascadeError(f"guidance must be one of {', '.join(GUIDANCE)}; got {name!r}")
        if name != run.guidance.name:
            run = replace(run, guidance=GUIDANCE[name])
    own = flat(run)
    for name in values:
        if name not in own:
            settings = ", ".join(_tunable(run))
            raise MRCascadeError(f"{_fault(name, run)}; its settings are {settings}")
    return with_flat(run, values)


def _traversal(run: Traversal | None, values: dict[str, Any]) -> Traversal:
    """Return the traversal that ``sampler`` and ``steps`` ask for; remove both from ``values``."""
    kind = values.pop("sampler", None)
    if "steps" in values and values["steps"] is None:
        del values["steps"]
        if kind is not None:
            raise MRCascadeError("sampler has no effect on the posterior mean")
        kind = Mean().kind
    elif kind is not None and (kind not in KINDS or kind == Mean().kind):
        known = ", ".join(k for k in KINDS if k != Mean().kind)
        raise MRCascadeError(f"sampler must be one of {known}; got {kind!r}")
    if run is None:
        return KINDS[kind or DiffPIR.name]
    return run if kind in (None, run.kind) else with_flat(KINDS[kind], flat(run))


def is_option(name: str) -> bool:
    """Return whether some recipe has an option of this flat name."""
    return name in _KNOWN or name == "guidance"


def _fault(name: str, run: Traversal) -> str:
    """Return the reason why the traversal refuses an option."""
    if not is_option(name):
        return f"there is no setting {name!r}"
    what = "the posterior mean" if isinstance(run, Mean) else f"sampler '{run.kind}'"
    return f"{name} has no effect on {what}"


def _tunable(run: Traversal) -> tuple[str, ...]:
    names = sorted((name for name in flat(run) if name != "steps"), key=_place)
    return (*names, "guidance") if isinstance(run, Chains) else (*names,)


def _place(name: str) -> int:
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


def _described(part: type[OptionSet]) -> str:
    """Return the title of a class of options and its attributes."""
    title, _, rest = cleandoc(part.__doc__ or "").partition("\n")
    _, _, attributes = rest.partition("Attributes:\n")
    return f"{title}\n{attributes}"


_SAMPLERS = {type(run.sampler): None for run in KINDS.values() if isinstance(run, Chains)}
_PARTS: tuple[type[OptionSet], ...] = (
    *(Schedule, NoiseLevels, Levels, Observed, Chains, Cascade, Mean, Multigrid, MultigridPnP),
    *_SAMPLERS,
    *map(type, GUIDANCE.values()),
)
Recipe.__doc__ = "\n\n".join(
    (
        cleandoc(Recipe.__doc__ or ""),
        f"Modes:\n\n{about_modes()}",
        *map(_described, _PARTS),
    )
)

#: Recipe of each mode, by name.
RECIPES: dict[str, Recipe] = {name: Recipe(name, mode.run) for name, mode in TABLE.items()}
