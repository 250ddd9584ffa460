"""Options of recipes as text: on the command line, and in JSON records."""

from collections.abc import Mapping, Sequence
from typing import Any

from mrcascade.errors import MRCascadeError
from mrcascade.recipes.modes import check_mode
from mrcascade.recipes.recipe import RECIPES, Recipe, is_option
from mrcascade.storage.files import parse_json

__all__ = ["RECIPES", "Recipe", "parse_changes", "read_mode", "same_record"]


def read_mode(mode: str) -> tuple[str, dict[str, Any]]:
    """Split ``NAME:KEY=VALUE...`` into the name of a recipe and its changed settings.

    Raises MRCascadeError for a recipe or a setting that does not exist.
    """
    name, *changes = mode.split(":")
    check_mode(name)
    return name, parse_changes(f"mode {mode!r}", RECIPES[name], changes)


def parse_changes(named: str, recipe: Recipe, changes: Sequence[str]) -> dict[str, Any]:
    """Parse changes of a recipe's options, each given as ``KEY=VALUE``.

    A value is JSON, a word, or numbers separated by ``/``, one per level.

    Args:
        named: beginning of error messages.
        recipe: recipe to be changed.
        changes: the texts ``KEY=VALUE``.

    Returns:
        The changed options, by flat name.

    Raises:
        MRCascadeError: an option does not exist, has no effect with this recipe or does not take
            the value.
    """
    given = [change.partition("=") for change in changes]
    values = {key: _value(text) for key, _, text in given}
    try:
        if "guidance" in values and "guidance" in recipe.tunable:  # it decides on the others
            recipe = recipe.changed(guidance=values["guidance"])
        for key in values:
            if key not in recipe.tunable:
                elsewhere = is_option(key) and key != "steps"  # --steps sets it
                fault = f"{key} has no effect here" if elsewhere else f"no setting {key!r}"
                known = ", ".join(recipe.tunable)
                raise MRCascadeError(f"{named}: {fault}; the settings are {known}")
        recipe.changed(**values)
    except MRCascadeError:  # its message says more than the one below
        raise
    except (TypeError, ValueError) as error:
        raise MRCascadeError(f"{named}: {', '.join(changes)} is of the wrong kind") from error
    return values


def same_record(before: Any, now: Any) -> bool:
    """Return whether two JSON records stand for the same results.

    ``now`` holds everything with an effect (``Recipe.record``). Further entries of ``before``, as
    in files of earlier versions, have none.
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
