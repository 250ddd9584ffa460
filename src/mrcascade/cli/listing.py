"""``mrcascade list``: priors and modes to choose from."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from mrcascade.cli import options, terminal
from mrcascade.cli.help import add_command
from mrcascade.errors import MRCascadeError
from mrcascade.prior.card import FACTS
from mrcascade.prior.format import list_priors, prior_folder, read_document, weight_files
from mrcascade.recipes.modes import TABLE
from mrcascade.storage.files import read_json

# The mode of --isotropic that has no recipe, as it runs no network.
_LEAST_SQUARES = {
    "name": "lsq",
    "use": "thick slices (--isotropic) in seconds: least squares, without a prior",
    "cost": 0.0,
    "steps": None,
}


def add_parser(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "list",
        help="list the priors and the modes, with what they are for",
        usage="[--json]",
        description="List the priors that come with the package, with the people whose images they"
        " have learned from, and the modes, with what they are for and what they cost.",
        examples=(
            ("mrcascade list", "both tables"),
            ("mrcascade list --json", "the same for a program"),
        ),
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    priors, modes = [describe_bundled(name) for name in list_priors()], list_modes()
    if arguments.json:
        for row in json.dumps({"priors": priors, "modes": modes}, indent=1).splitlines():
            terminal.line(row)
        return
    terminal.table(
        ("prior", "images", "kernel", "up to", "MB", "people", "domain score"),
        [_prior_row(prior) for prior in priors],
    )
    terminal.line(
        "--prior NAME chooses one; people: whose images it has learned from; mrcascade info NAME"
        " says more"
    )
    terminal.line("")
    terminal.table(("mode", "for", "cost"), [_mode_row(mode) for mode in modes])
    terminal.line(
        "--mode NAME chooses one; cost: network operations in units of those of mean, at 4x"
        " without noise; mrcascade benchmark measures seconds"
    )


def describe_bundled(name: str) -> dict[str, Any]:
    """Return the facts about a bundled prior that a user chooses by.

    Raises MRCascadeError where its files are damaged.
    """
    folder = prior_folder(name)
    document = read_document(folder)
    try:
        return {
            "name": name,
            "default": name == options.DEFAULT_PRIOR,
            "images": "complex" if document["channels"] == 2 else "magnitude",
            "kernel": document["kernel"],
            "maximum_factor": document["maximum_factor"],
            "levels": len(document["levels"]),
            "bytes": sum(path.stat().st_size for path in weight_files(folder)),
            "people": _people(folder),
            "slices": document["provenance"].get("slices"),
            "domain_score": document.get("domain") is not None,
        }
    except MRCascadeError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError, OSError) as error:
        raise MRCascadeError(f"{folder}: not a complete prior; install mrcascade again") from error


def list_modes() -> list[dict[str, Any]]:
    """Return name, use, relative cost and steps of each mode for users."""
    recipes = [
        {
            "name": name,
            "use": mode.use,
            "cost": mode.cost,
            "steps": getattr(getattr(mode.run, "schedule", None), "steps", None),
        }
        for name, mode in TABLE.items()
        if not mode.compared
    ]
    return [*recipes, _LEAST_SQUARES]


def _people(folder: Path) -> dict[str, int]:
    """Return the number of people of each anatomy that a prior has learned from."""
    anatomies = read_json(folder / FACTS)["data"]["train"]["anatomies"]
    return {one["anatomy"]: one["subjects"] for one in anatomies}


def _prior_row(prior: dict[str, Any]) -> tuple[str, ...]:
    people = sorted(prior["people"].items(), key=lambda one: -one[1])
    return (
        prior["name"] + " (default)" * prior["default"],
        prior["images"],
        prior["kernel"],
        f"{prior['maximum_factor']}x",
        f"{prior['bytes'] / 1e6:.1f}",
        ", ".join(f"{count} {anatomy}" for anatomy, count in people),
        "yes" if prior["domain_score"] else "no",
    )


def _mode_row(mode: dict[str, Any]) -> tuple[str, ...]:
    return mode["name"], mode["use"], f"{mode['cost']:g}"
