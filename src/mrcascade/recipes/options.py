"""Options of what runs: checked values in small frozen dataclasses, each with a name of its own.

Each option is a field of the one class whose code reads it. The names are unique over all classes,
so that a command line, ``prior.json`` and a sidecar can hold the options of a recipe side by side
(`flat`, `with_flat`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, Literal, TypeVar

from mrcascade.errors import MRCascadeError

# The steps of a chain are a few hundred; more would only fill the memory.
LARGEST_COUNT = 100_000
_RULE = "rule"

Consistency = Literal["measurement", "cascade"]
Part = TypeVar("Part", bound="OptionSet")


@dataclass(frozen=True)
class Rule:
    """What an option's value must be: ``text`` in words, ``fits`` as a test.

    ``by_level``: the value may also be a tuple, finest level first, all of which fit.
    ``numbers``: the value is None or a tuple of numbers, which become floats.
    """

    text: str
    fits: Callable[[Any], bool]
    by_level: bool = False
    numbers: bool = False

    def checked(self, name: str, value: Any) -> Any:
        """The value, lists of JSON as tuples. Raises MRCascadeError for one that does not fit."""
        if self.numbers and value is not None:
            value = tuple(float(v) for v in value)
        elif self.by_level and isinstance(value, list):
            value = tuple(value)
        if self.numbers:
            fits = value is None or all(map(self.fits, value))
        elif self.by_level:
            fits = value != () and all(map(self.fits, by_level(value)))
        else:
            fits = self.fits(value)
        if not fits:
            raise MRCascadeError(f"{name} must be {self.text}; got {value!r}")
        return value


def option(
    default: Any,
    text: str,
    fits: Callable[[Any], bool],
    *,
    by_level: bool = False,
    numbers: bool = False,
) -> Any:
    """A field that holds an option; the arguments are those of `Rule`."""
    return field(default=default, metadata={_RULE: Rule(text, fits, by_level, numbers)})


def switch(default: bool) -> Any:
    """An option that is true or false."""
    return option(default, "true or false", lambda value: isinstance(value, bool))


def share(default: float, *, by_level: bool = False) -> Any:
    """An option in [0, 1]."""
    return option(default, "in [0, 1]", lambda value: 0 <= value <= 1, by_level=by_level)


def above_zero(default: float, *, by_level: bool = False) -> Any:
    """An option above 0."""
    return option(default, "> 0", lambda value: 0 < value < math.inf, by_level=by_level)


def not_negative(default: float) -> Any:
    """An option of 0 or more."""
    return option(default, ">= 0", lambda value: 0 <= value < math.inf)


def positive_numbers() -> Any:
    """An option of one number above 0 for each level, finest first; None by default."""
    return option(None, "positive numbers", lambda value: 0 < value < math.inf, numbers=True)


def count(default: int, least: int, most: int) -> Any:
    """An option that counts something."""
    return option(
        default,
        f"a whole number from {least} to {most}",
        lambda value: type(value) is int and least <= value <= most,
    )


def orientations() -> Any:
    """Orientations of the image in which the networks see it."""
    return option(1, "1, 2, 4 or 8", lambda value: value in (1, 2, 4, 8), by_level=True)


@dataclass(frozen=True)
class OptionSet:
    """Base of all sets of options. Raises MRCascadeError for values out of range."""

    def __post_init__(self) -> None:
        for each in fields(self):
            if _RULE in each.metadata:
                value = each.metadata[_RULE].checked(each.name, getattr(self, each.name))
                object.__setattr__(self, each.name, value)


@dataclass(frozen=True)
class Levels(OptionSet):
    """How the levels of a cascade depend on each other.

    Attributes:
        consistency: what the levels finer than the measurement compare with. "measurement" is
            the measurement itself, "cascade" the image rebuilt at the next coarser level.
        band_constraint: impose down(x_(i)) = 0 on the bands. None imposes it where it agrees
            with the data (see ``plan_cascade``).
        condition_error: share of the next coarser band, in [0, 1), which conditional levels are
            told to be missing from their condition where y does not inform that band: 0 for
            samples, larger for means.
    """

    consistency: Literal["measurement", "cascade"] = option(
        "measurement",
        "one of measurement, cascade",
        lambda value: value in ("measurement", "cascade"),
    )
    band_constraint: bool | None = option(
        None, "true, false or null", lambda value: value is None or isinstance(value, bool)
    )
    condition_error: float = option(0.0, "in [0, 1)", lambda value: 0 <= value < 1)


@dataclass(frozen=True)
class Schedule(OptionSet):
    """How the steps are shared out.

    Attributes:
        steps: T, network evaluations over all levels (nominal; see ``plan_cascade``).
        skip_determined: leave out the chain of a level that noise-free data fix completely.
        step_shares: how much of T a level gets in relation to the others, > 0, or several such
            numbers: one for each level, finest first; the last one covers all coarser levels.
            1 shares T equally.
    """

    steps: int = count(200, 1, LARGEST_COUNT)
    skip_determined: bool = switch(True)
    step_shares: float | tuple[float, ...] = above_zero(1.0, by_level=True)

    def share_at(self, level: int) -> float:
        """``step_shares`` of one level, 1 the finest."""
        return float(at_level(level, self.step_shares))


@dataclass(frozen=True)
class NoiseLevels(OptionSet):
    """Noise levels of the chain of each level (see ``karras_sigmas``).

    Attributes:
        sigma_start, sigma_min: first and last noise level of the chain of each level, finest
            first, in units of the standard deviation of the level's band; None leaves both to
            the prior.
        rho: curvature of the noise schedule, 0.1 or more, or one number for each level, as
            ``step_shares``. Larger ones put more of the steps at little noise.
    """

    sigma_start: tuple[float, ...] | None = positive_numbers()
    sigma_min: tuple[float, ...] | None = positive_numbers()
    # The schedule takes powers of 1 / rho, which floating-point numbers must hold.
    rho: float | tuple[float, ...] = option(
        7.0, "0.1 or more", lambda value: 0.1 <= value < math.inf, by_level=True
    )

    def rho_at(self, level: int) -> float:
        """``rho`` of one level, 1 the finest."""
        return float(at_level(level, self.rho))


@dataclass(frozen=True)
class Observed(OptionSet):
    """How a level on y's grid, or coarser, takes noisy data.

    Attributes:
        start_at_data: take the data for the level's image at the noise level of the data. The
            chain begins there and runs the reverse diffusion without data consistency: with all
            of its fresh noise and for many steps, a draw from the posterior given y and the
            coarser image. Less noise than the denoiser knows is left to the usual chain.
        observed_zeta: share of its fresh noise that this reverse diffusion brings in, in [0, 1];
            None leaves that to the sampler. One sample is nearer to the truth with a small one;
            several spread as they should at 1, which modes take for them.
    """

    start_at_data: bool = switch(False)
    observed_zeta: float | None = option(
        None, "in [0, 1] or null", lambda value: value is None or 0 <= value <= 1
    )


def by_level(given: float | tuple[float, ...]) -> tuple[float, ...]:
    """Values of an option, finest level first."""
    return given if isinstance(given, tuple) else (given,)


def at_level(level: int, given: float | tuple[float, ...]) -> float:
    """Value of an option for ``level``, 1 the finest; the last one covers all coarser levels."""
    values = by_level(given)
    return values[min(level, len(values)) - 1]


def flat(part: OptionSet) -> dict[str, Any]:
    """All options of a part and of the parts in it, by name."""
    values: dict[str, Any] = {}
    for each in fields(part):
        value = getattr(part, each.name)
        if _RULE in each.metadata:
            values[each.name] = value
        elif isinstance(value, OptionSet):
            values |= flat(value)
    return values


def with_flat(part: Part, values: Mapping[str, Any]) -> Part:
    """The part with other values for those of its options that ``values`` names."""

    def changed(each: Field[Any]) -> Any:
        value = getattr(part, each.name)
        if _RULE in each.metadata:
            return values.get(each.name, value)
        return with_flat(value, values) if isinstance(value, OptionSet) else value

    return replace(part, **{each.name: changed(each) for each in fields(part)})
