"""The settings of a reconstruction, and the recipes that have a name."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from textwrap import indent
from typing import Any, Literal, get_args

from mrcascade.errors import MRCascadeError
from mrcascade.recipes.effects import EFFECTS
from mrcascade.recipes.modes import about_modes, check_mode
from mrcascade.storage.files import parse_json

# Of steps, which are a few hundred; more would only fill the memory.
LARGEST_COUNT = 100_000
_MOST_GRIDS = 32  # each is half as large as the one before

Consistency = Literal["measurement", "cascade"]
Sampler = Literal["diffpir", "dps", "multigrid", "multigrid-pnp"]


@dataclass(frozen=True)
class SamplerSettings:
    """How a cascade reconstructs; ``SamplerSettings(**json.loads(json.dumps(asdict(s)))) == s``.

    Each sampler, and the posterior mean, has settings of its own (``tunable``); the others must
    keep their defaults. ``RECIPES`` holds those of the modes.

    Attributes:
        name: how reports call these settings.
        steps: T, network evaluations over all levels (nominal; see ``plan_cascade``). None asks
            for the conditional mean, one evaluation per level and no chain.
        sampler: "diffpir" or "dps" runs in each level of a cascade; "multigrid" and
            "multigrid-pnp" run a prior of one level on coarser grids too, which count as levels
            wherever a setting has a value per level.
        step_size: of DPS, >= 0.
        zeta: share of fresh noise in each step of DiffPIR, in [0, 1].
        lam: DiffPIR's lambda, > 0, in consistent units (see ``diffpir.proximal_step``).
        noise_floor: floor of sigma_y in the data step, in image units. At 0 noise-free data are
            met exactly in each step.
        project: end each level that has exact data with the projection onto them. Published
            posterior samplers do not.
        sigma_start, sigma_min: first and last noise level of the chain of each level, finest
            first, in units of the standard deviation of the level's band; None leaves both to
            the prior.
        start_at_mean: start conditional levels at their conditional mean rather than at zero.
        start_at_data: a level on y's grid, or coarser, takes noisy data for what they are: the
            level's image at the noise level of the data. Its chain begins there and runs the
            reverse diffusion without data steps, with zeta of the noise that it brings in: at 1
            and for many steps, a draw from the posterior given y and the coarser image. Less
            noise than the denoiser knows is left to the usual chain.
        observed_zeta: zeta of that reverse diffusion, in [0, 1]; None takes ``zeta``. One sample is
            nearer to the truth with a small one; several spread as they should at 1, which modes
            take for them.
        rho: curvature of the noise schedule, 0.1 or more, or several such numbers: of each level,
            as ``orientations`` has them. Larger ones put more of the steps at little noise.
        consistency: what the levels finer than the measurement compare with. "measurement" is
            the measurement itself, "cascade" the image rebuilt at the next coarser level.
        skip_determined: leave out the chain of a level that noise-free data fix completely.
        step_shares: how much of T a level gets in relation to the others, > 0, or several such
            numbers: of each level, as ``orientations`` has them. 1 shares T equally.
        redistribute: give the steps of skipped levels to the others.
        band_constraint: impose down(x_(i)) = 0 on the bands. None imposes it where it agrees
            with the data (see ``plan_cascade``).
        condition_error: share of the next coarser band, in [0, 1), which conditional levels are
            told to be missing from their condition where y does not inform that band: 0 for
            samples, larger for means.
        orientations: of the image in which the networks see it, 1, 2, 4 or 8 (see
            ``orientations``), or several such numbers: of each level, finest first, the last one
            also of all that are coarser. A conditional mean is averaged over them, each at the
            cost of one; a chain takes them in turn, one per evaluation, so that what the network
            does differently in each cancels as the chain goes on.
        detail: share of its deviation from the conditional mean that each band of a sample keeps,
            in [0, 1], or several such numbers: of each level, as ``orientations`` has them. 1 is
            the sample, 0 the mean (see ``detail.keep_detail``).
        spread: factor on the standard deviation over samples, > 0: skill over spread on
            validation data, where samples of a trained prior vary less than they err.
        grids: G of the multi-grid samplers, 1 or more; each is half as large per axis.
        pnp_sigma: noise level of multigrid-pnp's denoiser on each grid, finest first, in units
            of the standard deviation of the prior's images; None: see ``multigrid_pnp``.
        pnp_step: gamma of multigrid-pnp, in (0, 2), in units of 1 / ||H P_i||^2.
        pnp_corrections: outer iterations per grid that multigrid-pnp begins with a coarse
            correction, at most, >= 0.

    Raises MRCascadeError for values out of range, and for values other than the default of
    settings without effect.

    Example:
        >>> from dataclasses import replace
        >>> from mrcascade import RECIPES
        >>> replace(RECIPES["paper"], steps=60).steps
        60
    """

    name: str
    steps: int | None = 200
    sampler: Sampler = "diffpir"
    step_size: float = 0.3
    zeta: float = 0.3
    lam: float = 1.0
    noise_floor: float = 0.0
    project: bool = True
    sigma_start: tuple[float, ...] | None = None
    sigma_min: tuple[float, ...] | None = None
    start_at_mean: bool = False
    start_at_data: bool = False
    observed_zeta: float | None = None
    rho: float | tuple[float, ...] = 7.0
    consistency: Consistency = "measurement"
    skip_determined: bool = True
    step_shares: float | tuple[float, ...] = 1.0
    redistribute: bool = False
    band_constraint: bool | None = None
    condition_error: float = 0.0
    orientations: int | tuple[int, ...] = 1
    detail: float | tuple[float, ...] = 1.0
    spread: float = 1.0
    grids: int = 3
    pnp_sigma: tuple[float, ...] | None = None
    pnp_step: float = 1.0
    pnp_corrections: int = 2

    def __post_init__(self) -> None:
        for field in ("sigma_start", "sigma_min", "pnp_sigma"):
            values = getattr(self, field)
            if values is not None:  # JSON has lists where the dataclass has tuples
                object.__setattr__(self, field, tuple(float(v) for v in values))
                self._require(all(0 < v < math.inf for v in values), field, "positive numbers")
        for field in (
            "project",
            "start_at_mean",
            "start_at_data",
            "skip_determined",
            "redistribute",
        ):
            self._require(isinstance(getattr(self, field), bool), field, "true or false")
        free = self.band_constraint is None or isinstance(self.band_constraint, bool)
        self._require(free, "band_constraint", "true, false or null")
        if self.steps is not None:
            self._require_whole("steps", 1, LARGEST_COUNT)
        self._require(0 <= self.zeta <= 1, "zeta", "in [0, 1]")
        observed = 0 if self.observed_zeta is None else self.observed_zeta
        self._require(0 <= observed <= 1, "observed_zeta", "in [0, 1] or null")
        self._require(0 < self.lam < math.inf, "lam", "> 0")
        self._require(0 <= self.noise_floor < math.inf, "noise_floor", ">= 0")
        self._require(0 < self.spread < math.inf, "spread", "> 0")
        for field, kind in (("consistency", Consistency), ("sampler", Sampler)):
            known = get_args(kind)
            self._require(getattr(self, field) in known, field, f"one of {', '.join(known)}")
        self._require(0 <= self.step_size < math.inf, "step_size", ">= 0")
        self._require(0 <= self.condition_error < 1, "condition_error", "in [0, 1)")
        self._require_by_level("orientations", lambda n: n in (1, 2, 4, 8), "1, 2, 4 or 8")
        self._require_by_level("detail", lambda share: 0 <= share <= 1, "in [0, 1]")
        # The schedule takes powers of 1 / rho, which floating-point numbers must hold.
        self._require_by_level("rho", lambda value: 0.1 <= value < math.inf, "0.1 or more")
        self._require_by_level("step_shares", lambda value: 0 < value < math.inf, "> 0")
        self._require_whole("grids", 1, _MOST_GRIDS)
        self._require(0 < self.pnp_step < 2, "pnp_step", "in (0, 2)")
        self._require_whole("pnp_corrections", 0, LARGEST_COUNT)
        self._require(self.steps is not None or not self.multigrid, "steps", "1 or more on grids")
        self._require_effects()

    @property
    def tunable(self) -> tuple[str, ...]:
        """Names of the settings with an effect on the result, but for ``steps``."""
        effects = EFFECTS["mean" if self.steps is None else self.sampler]
        return tuple(f.name for f in fields(self) if f.name in effects)

    def record(self, samples: int) -> dict[str, Any]:
        """What a result depends on, for files; ``spread`` has an effect on several samples."""
        what = ("name", "steps") if self.steps is None else ("name", "steps", "sampler")
        names = (*what, *self.tunable)
        return {n: getattr(self, n) for n in names if n != "spread" or samples > 1}

    def orientations_at(self, level: int) -> int:
        """``orientations`` of one level, 1 the finest."""
        return int(_at(level, self.orientations))

    def detail_at(self, level: int) -> float:
        """``detail`` of one level, 1 the finest."""
        return float(_at(level, self.detail))

    def step_share_at(self, level: int) -> float:
        """``step_shares`` of one level, 1 the finest."""
        return float(_at(level, self.step_shares))

    def rho_at(self, level: int) -> float:
        """``rho`` of one level, 1 the finest."""
        return float(_at(level, self.rho))

    @property
    def full_detail(self) -> bool:
        """Whether a sample is left as it was drawn."""
        return set(_by_level(self.detail)) == {1}

    @property
    def multigrid(self) -> bool:
        """Whether a prior of one level runs on several grids."""
        return self.sampler in ("multigrid", "multigrid-pnp")

    @property
    def draws(self) -> bool:
        """Whether seeds matter, so that several samples make sense."""
        return self.steps is not None and self.sampler != "multigrid-pnp"

    def _require_effects(self) -> None:
        """Settings without effect have their defaults."""
        mean = self.steps is None
        what = "the posterior mean" if mean else f"sampler '{self.sampler}'"
        for field in fields(self):
            known = field.name in ("name", "steps", *self.tunable)
            known = known or (field.name == "sampler" and not mean)
            if not known and getattr(self, field.name) != field.default:
                raise MRCascadeError(
                    f"settings '{self.name}': {field.name} has no effect on {what}; its settings"
                    f" are {', '.join(self.tunable)}"
                )

    def _require_by_level(self, field: str, fits: Callable[[float], bool], rule: str) -> None:
        if isinstance(getattr(self, field), list):  # of JSON
            object.__setattr__(self, field, tuple(getattr(self, field)))
        values = _by_level(getattr(self, field))
        self._require(bool(values) and all(map(fits, values)), field, rule)

    def _require_whole(self, field: str, least: int, most: int) -> None:
        value = getattr(self, field)
        whole = isinstance(value, int) and not isinstance(value, bool)
        rule = f"a whole number from {least} to {most}"
        self._require(whole and least <= value <= most, field, rule)

    def _require(self, holds: bool, field: str, rule: str) -> None:
        if not holds:
            value: Any = getattr(self, field)
            raise MRCascadeError(f"settings '{self.name}': {field} must be {rule}; got {value!r}")


def _by_level(given: float | tuple[float, ...]) -> tuple[float, ...]:
    """A setting's values, finest level first."""
    return given if isinstance(given, tuple) else (given,)


def _at(level: int, given: float | tuple[float, ...]) -> float:
    """Its value at one level, the last one also at all that are coarser."""
    values = _by_level(given)
    return values[min(level, len(values)) - 1]


SamplerSettings.__doc__ = (
    f"{SamplerSettings.__doc__}\n    Modes:\n\n{indent(about_modes(), '    * ')}\n"
)

#: Settings of each mode, by its name; ``mrcascade.recipes.modes`` has a line about each.
RECIPES: dict[str, SamplerSettings] = {
    recipe.name: recipe
    for recipe in (
        SamplerSettings("mean", steps=None),
        SamplerSettings("balanced", steps=200, detail=(1.0, 0.6)),
        SamplerSettings("sample", steps=48),
        SamplerSettings("paper", steps=200),
        SamplerSettings("dps", steps=200, sampler="dps"),
        SamplerSettings("multigrid", steps=200, sampler="multigrid"),
        SamplerSettings("multigrid-pnp", steps=200, sampler="multigrid-pnp"),
    )
}


def read_mode(mode: str) -> tuple[str, dict[str, Any]]:
    """Name of a recipe, and the settings that are changed by ``:KEY=VALUE`` after it.

    Raises MRCascadeError for a recipe or a setting that does not exist.
    """
    name, *changes = mode.split(":")
    check_mode(name)
    return name, parse_changes(f"mode {mode!r}", RECIPES[name], changes)


def parse_changes(named: str, recipe: SamplerSettings, changes: Sequence[str]) -> dict[str, Any]:
    """Settings that differ from a recipe's, each given as ``KEY=VALUE``.

    A value is JSON, or numbers with ``/`` between them for a setting of each level, or a word.
    Raises MRCascadeError, which begins with ``named``, for a setting that does not exist, has no
    effect with this recipe or does not take the value.
    """
    known = recipe.tunable
    values = {}
    for change in changes:
        key, _, text = change.partition("=")
        if key not in known:
            elsewhere = any(key in effects for effects in EFFECTS.values())
            fault = f"{key} has no effect here" if elsewhere else f"no setting {key!r}"
            raise MRCascadeError(f"{named}: {fault}; the settings are {', '.join(known)}")
        values[key] = _value(text)
    try:
        replace(recipe, **values)
    except MRCascadeError:
        raise
    except (TypeError, ValueError) as error:
        raise MRCascadeError(f"{named}: {', '.join(changes)} is of the wrong kind") from error
    return values


def same_record(before: Any, now: Any) -> bool:
    """Whether two records, as JSON holds them, stand for the same results.

    ``now`` holds all that has an effect (``SamplerSettings.record``); what ``before`` holds
    besides, as files of earlier versions do, has none.
    """
    if not isinstance(now, Mapping):
        return bool(before == now)
    return isinstance(before, Mapping) and all(before.get(k) == v for k, v in now.items())


def _value(text: str) -> Any:
    try:
        if "/" in text:
            return tuple(parse_json(part) for part in text.split("/"))
        return parse_json(text)
    except ValueError:
        return text  # a word, such as cascade
