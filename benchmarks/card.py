"""Facts and model card of a prior.

    python benchmarks/card.py PRIOR_FOLDER --data DATA --run RUN --evaluation EVAL_2X EVAL_4X

Writes ``facts.json`` beside the prior's weights and renders the card (README.md) from it and from
``benchmarks/cards/NAME.md``, which holds what a person writes: introduction, intended use, limits.
DATA is the folder whose manifest.json states licences and attributions. Runs are given from the
first to the last; ``--after FACTS`` puts the runs of the prior that the first one began with
before them. Evaluations and calibrations must have used this very prior.

A section whose option is left out stays as it is. Without any option only the card is rendered.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from card_facts import (
    calibration_facts,
    data_facts,
    evaluation_facts,
    merged_runs,
    prior_facts,
    read_facts,
    run_facts,
)
from card_page import card_folder, priors_below, render
from common import run
from mrcascade.errors import MRCascadeError
from mrcascade.io import atomic_output
from mrcascade.prior.card import CARD, FACTS
from mrcascade.prior.format import PRIOR_FILE, read_document


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prior", type=Path, help="folder of the prior, or of several for the card")
    parser.add_argument("--data", type=Path, help="folder of the training images' manifest.json")
    parser.add_argument("--run", type=Path, nargs="+", default=[], help="training runs, in order")
    parser.add_argument("--after", type=Path, help="facts.json of the prior that a run began with")
    parser.add_argument("--evaluation", type=Path, nargs="+", default=[])
    parser.add_argument("--calibration", type=Path, nargs="+", default=[])
    options = parser.parse_args()
    if (options.prior / PRIOR_FILE).is_file():
        collect(options)
        folder = card_folder(options.prior)
    else:
        folder = options.prior
        if not priors_below(folder):
            raise MRCascadeError(f"{folder}: no {PRIOR_FILE} in it or in a folder below")
    with atomic_output(folder / CARD, overwrite=True) as temporary:
        temporary.write_text(render(folder))
    print(folder / CARD)


def collect(options: argparse.Namespace) -> None:
    """Write the facts of one prior."""
    target = options.prior / FACTS
    facts = read_facts(target)
    facts["prior"] = prior_facts(options.prior)
    digest = facts["prior"]["sha256"]
    if options.data:
        provenance = read_document(options.prior)["provenance"]
        facts["data"] = data_facts(provenance, options.data / "manifest.json")
    if options.run:
        earlier = read_facts(options.after)["training"] if options.after else []
        later = [told for folder in options.run for told in run_facts(folder)]
        if later and later[0]["start"] and not earlier:
            raise MRCascadeError(
                f"{options.run[0]}: begun with {later[0]['start']!r}; name that prior's facts.json"
                " by --after, so that the card counts its training"
            )
        facts["training"] = merged_runs(earlier, later)
    if options.evaluation:
        facts["evaluations"] = [evaluation_facts(e, digest) for e in options.evaluation]
    if options.calibration:
        rows = [row for path in options.calibration for row in calibration_facts(path, digest)]
        facts["calibration"] = rows
    if missing := [key for key in ("data", "training") if key not in facts]:
        wanted = {"data": "--data", "training": "--run"}
        raise MRCascadeError(
            f"{target}: give {' and '.join(wanted[key] for key in missing)}, as the card needs it"
        )
    with atomic_output(target, overwrite=True) as temporary:
        temporary.write_text(json.dumps(facts, indent=1) + "\n")
    print(target)


if __name__ == "__main__":
    run(main)
