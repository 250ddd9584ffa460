"""Options of a reconstruction: checked values in small frozen dataclasses.

Each option is a field of the one class that reads it. Names are unique over all classes, so that a
command line, ``prior.json`` and a sidecar can hold the options of a recipe side by side (`flat`,
`with_flat`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from numbers import Real
from typing import Any, Literal, TypeVar

from mrcascade.errors import MRCascadeError

# A chain has a few hundred steps; more than this would only fill the memory.
LARGEST_COUNT = 100_000
_RULE = "rule"

Consistency = Literal["measurement", "cascade"]
Part = TypeVar("Part", bound="OptionSet")


@dataclass(frozen=True)
class Rule:
    """Rule for the value of an option.

    Attributes:
        text: the rule in words, as messages state it.
        fits: test of one value.
        by_level: whether the value may also be a tuple, finest level first; each entry must fit.
        numbers: whether the value is None or a tuple of numbers, which become floats.
        numeric: whether values are numbers, which booleans are not.
    """

    text: str
    fits: Callable[[Any], bool]
    by_level: bool = False
    numbers: bool = False
    numeric: bool = False

    def checked(self, name: str, value: Any) -> Any:
        """Return the value, with lists of JSON as tuples.

        Raises MRCascadeError for a value that does not fit, and TypeError where it is no number
        but must be one.
        """
        entries = value if isinstance(value, list | tuple) else (value,)
        if self.numeric and not all(v is None or is_number(v) for v in entries):
            raise TypeError(f"{name} must be {self.text}; got {value!r}")
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
    numeric: bool = False,
) -> Any:
    """Return a dataclass field that holds an option; the arguments are those of `Rule`."""
    return field(default=default, metadata={_RULE: Rule(text, fits, by_level, numbers, numeric)})


def is_number(value: Any) -> bool:
    """Return whether a value is a real number. To Python, True is one as well."""
    return isinstance(value, Real) and not isinstance(value, bool)


def switch(default: bool) -> Any:
    """Field for true or false."""
    return option(default, "true or false", lambda value: isinstance(value, bool))


def share(default: float, *, by_level: bool = False) -> Any:
    """Field for a number in [0, 1]."""
    return option(
        default, "in [0, 1]", lambda value: 0 <= value <= 1, by_level=by_level, numeric=True
    )


def above_zero(default: float, *, by_level: bool = False) -> Any:
    """Field for a number above 0."""
    return option(
        default, "> 0", lambda value: 0 < value < math.inf, by_level=by_level, numeric=True
    )


def not_negative(default: float) -> Any:
    """Field for a number of 0 or more."""
    return option(default, ">= 0", lambda value: 0 <= value < math.inf, numeric=True)


def positive_numbers() -> Any:
    """Field for one number above 0 per level, finest first; None by default."""
    return option(
        None, "positive numbers", lambda value: 0 < value < math.inf, numbers=True, numeric=True
    )


def count(default: int, least: int, most: int) -> Any:
    """Field for a whole number from ``least`` to ``most``."""
    return option(
        default,
        f"a whole number from {least} to {most}",
        lambda value: type(value) is int and least <= value <= most,
    )


def orientations() -> Any:
    """Field for the number of orientations in which the networks see the image."""
    return option(
        1, "1, 2, 4 or 8", lambda value: value in (1, 2, 4, 8), by_level=True, numeric=True
    )


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
    """Dependence of the levels of a cascade on each other.

    Attributes:
        consistency: target of data consistency at levels finer than the measurement.
            "measurement" is the measurement itself, "cascade" the image rebuilt at the next
            coarser level.
        band_constraint: impose down(x_(i)) = 0 on the bands. None imposes it where it agrees
            with the data (see ``plan_cascade``).
        condition_error: assumed error of the condition of conditional levels where y does not
            inform the next coarser band, as a share of that band in [0, 1): 0 for samples,
            larger for means.
    """

    consistency: Literal["measurement", "cascade"] = option(
        "measurement",
        "one of measurement, cascade",
        lambda value: value in ("measurement", "cascade"),
    )
    band_constraint: bool | None = option(
        None, "true, false or null", lambda value: value is None or isinstance(value, bool)
    )
    condition_error: float = option(0.0, "in [0, 1)", lambda value: 0 <= value < 1, numeric=True)


@dataclass(frozen=True)
class Schedule(OptionSet):
    """Number of steps, and their distribution over the levels.

    Attributes:
        steps: T, network evaluations over all levels (nominal; see ``plan_cascade``).
        skip_determined: skip the chain of a level that noise-free data fix completely.
        step_shares: weight of a level's share of T, > 0, or one weight per level, finest first;
            the last entry covers all coarser levels. Equal weights share T equally.
    """

    steps: int = count(200, 1, LARGEST_COUNT)
    skip_determined: bool = switch(True)
    step_shares: float | tuple[float, ...] = above_zero(1.0, by_level=True)

    def share_at(self, level: int) -> float:
        """Return ``step_shares`` of one level, 1 the finest."""
        return float(at_level(level, self.step_shares))


@dataclass(frozen=True)
class NoiseLevels(OptionSet):
    """Noise levels of the chain of each level (see ``karras_sigmas``).

    Attributes:
        sigma_start, sigma_min: first and last noise level of the chain of each level, finest
            first, in units of the standard deviation of the level's band; None leaves both to
            the prior.
        rho: curvature of the noise schedule, 0.1 or more, or one number per level as for
            ``step_shares``. A larger rho puts more steps at low noise.
    """

    sigma_start: tuple[float, ...] | None = positive_numbers()
    sigma_min: tuple[float, ...] | None = positive_numbers()
    # The schedule takes powers of 1 / rho; a smaller rho would leave the range of floats.
    rho: float | tuple[float, ...] = option(
        7.0, "0.1 or more", lambda value: 0.1 <= value < math.inf, by_level=True, numeric=True
    )

    def rho_at(self, level: int) -> float:
        """Return ``rho`` of one level, 1 the finest."""
        return float(at_level(level, self.rho))


@dataclass(frozen=True)
class Observed(OptionSet):
    """Treatment of noisy data at levels on y's grid or coarser.

    Attributes:
        start_at_data: start the chain at the data, with the noise level of the data as the first
            noise level, and run the reverse diffusion without data consistency. With all of its
            fresh noise and many steps it draws from the posterior given y and the coarser image.
            The usual chain runs where the data have less noise than the denoiser was trained for.
        observed_zeta: share of its fresh noise that this reverse diffusion adds, in [0, 1];
            None leaves it to the sampler. A small share brings one sample nearer to the truth;
            at 1 several samples spread as the posterior does.
    """

    start_at_data: bool = switch(False)
    observed_zeta: float | None = option(
        None, "in [0, 1] or null", lambda value: value is None or 0 <= value <= 1, numeric=True
    )


def by_level(given: float | tuple[float, ...]) -> tuple[float, ...]:
    """Return the values of an option as a tuple, finest level first."""
    return given if isinstance(given, tuple) else (given,)


def at_level(level: int, given: float | tuple[float, ...]) -> float:
    """Value of an option for ``level``, 1 the finest; the last entry covers all coarser levels."""
    values = by_level(given)
    return values[min(level, len(values)) - 1]


def flat(part: OptionSet) -> dict[str, Any]:
    """Return all options of a part and of the parts within it, by name."""
    values: dict[str, Any] = {}
    for each in fields(part):
        value = getattr(part, each.name)
        if _RULE in each.metadata:
            values[each.name] = value
        elif isinstance(value, OptionSet):
            values |= flat(value)
    return values


def with_flat(part: Part, values: Mapping[str, Any]) -> Part:
    """Return the part with the options that ``values`` names replaced; other names are ignored."""

    def changed(each: Field[Any]) -> Any:
        value = getattr(part, each.name)
        if _RULE in each.metadata:
            return values.get(each.name, value)
        return with_flat(value, values) if isinstance(value, OptionSet) else value

    return replace(part, **{each.name: changed(each) for each in fields(part)})
