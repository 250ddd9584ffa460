"""What keeps the quick tests quick: many small cases in one test, and cases for `slow` alone."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest


def slow(*values: Any) -> Any:
    """A case that `make slow` runs and `make test` does not."""
    return pytest.param(*values, marks=pytest.mark.slow)


def slow_but(cases: Iterable[Any], *quick: Any) -> list[Any]:
    """Values of one argument, of which those in ``quick`` run always and the others are slow."""
    chosen = [case if case in quick else slow(case) for case in cases]
    assert sum(case in quick for case in chosen) == len(quick), "a quick case is none of them"
    return chosen


def each(name: str, cases: Mapping[str, Callable[[], Any]]) -> Callable[[Callable], Callable]:
    """Run a test for every case, made anew, as its argument ``name``; a failure names its case.

    One test costs pytest as much as a thousand of their assertions. Example::

        @each("size", {"small": lambda: 3, "large": lambda: 300})
        def test_sizes(size: int) -> None: ...
    """

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def looped(**given: Any) -> None:
            for label, make in cases.items():
                try:
                    test(**{name: make()}, **given)
                except BaseException as error:  # a failed pytest.raises is no Exception
                    error.add_note(f"{name}: {label}")
                    raise

        signature = inspect.signature(test)
        kept = [p for p in signature.parameters.values() if p.name != name]
        looped.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
        return looped

    return decorate
