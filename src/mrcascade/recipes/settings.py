"""Options of recipes as texts and records hold them: on the command line, and in JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from mrcascade.errors import MRCascadeError
from mrcascade.recipes.modes import check_mode
from mrcascade.recipes.recipe import RECIPES, Recipe, is_option
from mrcascade.storage.files import parse_json

#: The name of `Recipe` in earlier versions.
SamplerSettings = Recipe

__all__ = ["RECIPES", "Recipe", "SamplerSettings", "parse_changes", "read_mode", "same_record"]


def read_mode(mode: str) -> tuple[str, dict[str, Any]]:
    """Name of a recipe, and the settings that are changed by ``:KEY=VALUE`` after it.

    Raises MRCascadeError for a recipe or a setting that does not exist.
    """
    name, *changes = mode.split(":")
    check_mode(name)
    return name, parse_changes(f"mode {mode!r}", RECIPES[name], changes)


def parse_changes(named: str, recipe: Recipe, changes: Sequence[str]) -> dict[str, Any]:
    """Options that differ from a recipe's, each given as ``KEY=VALUE``, by flat name.

    A value is JSON, or numbers with ``/`` between them for an option of each level, or a word.
    Raises MRCascadeError, which begins with ``named``, for an option that does not exist, has no
    effect with this recipe or does not take the value.
    """
    given = [change.partition("=") for change in changes]
    values = {key: _value(text) for key, _, text in given}
    try:
        if "guidance" in values and "guidance" in recipe.tunable:  # it decides on other options
            recipe = recipe.changed(guidance=values["guidance"])
        for key in values:
            if key not in recipe.tunable:
                elsewhere = is_option(key) and key != "steps"  # which has a command line option
                fault = f"{key} has no effect here" if elsewhere else f"no setting {key!r}"
                known = ", ".join(recipe.tunable)
                raise MRCascadeError(f"{named}: {fault}; the settings are {known}")
        recipe.changed(**values)
    except MRCascadeError:  # says more than the next line could
        raise
    except (TypeError, ValueError) as error:
        raise MRCascadeError(f"{named}: {', '.join(changes)} is of the wrong kind") from error
    return values


def same_record(before: Any, now: Any) -> bool:
    """Whether two records, as JSON holds them, stand for the same results.

    ``now`` holds all that has an effect (``Recipe.record``); what ``before`` holds besides, as
    files of earlier versions do, has none.
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
