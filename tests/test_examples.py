"""Every public name has an example in its docstring, and the example is true."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

import mrcascade

NAMES = sorted(name for name in mrcascade.__all__ if callable(getattr(mrcascade, name)))


@pytest.mark.parametrize("name", NAMES)
def test_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    finder = doctest.DocTestFinder(recurse=False)
    (test,) = finder.find(getattr(mrcascade, name), name, globs={})
    assert test.examples, f"{name} has no example"
    printed: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=printed.append)
    assert not printed, "".join(printed)
