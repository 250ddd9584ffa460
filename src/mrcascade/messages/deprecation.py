"""Former names of a module's contents, which go on working for a while and say what to use."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any


def with_former_names(
    module: str, former: Mapping[str, str], getattr_: Callable[[str], Any]
) -> Callable[[str], Any]:
    """The ``__getattr__`` of a module some of whose names have changed.

    A former name gives what its present name gives. The first use in a process warns.

    Args:
        module: ``__name__`` of the module.
        former: former name -> present name.
        getattr_: finds all other names, as a module's ``__getattr__`` does.
    """

    def find(name: str) -> Any:
        if name not in former:
            return getattr_(name)
        home, present = sys.modules[module], former[name]
        warnings.warn(
            f"{module}.{name} is called {module}.{present} now", DeprecationWarning, stacklevel=2
        )
        value = home.__dict__[name] = getattr(home, present)  # found without us from now on
        return value

    return find
