"""Distribution of features over a prior's own images, for the score of how far others are.

    python benchmarks/domain_reference.py src/mrcascade/weights/mr-small --data ../shared/data

Training writes the domain of a prior when it exports one. This script writes it into an existing
prior, from the train and val splits of ``--data`` (a folder of images or a cache): run it again
when the weights of the coarsest level or the images change. Other entries and weights stay.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common import run
from mrcascade.errors import MRCascadeError
from mrcascade.prior.cascade import CascadePrior
from mrcascade.prior.domain import write_domain
from mrcascade.prior.format import prior_folder
from mrcascade.training.domain import domain_of
from mrcascade.training.slice_cache import CACHE_ENDING
from mrcascade.training.slices import load_volumes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prior", type=Path, help="folder of the prior, which is changed")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--exclude", action="append", default=[], help="as in training")
    parser.add_argument(
        "--phase-seed", type=int, default=0, help="simulated phase, for complex priors"
    )
    options = parser.parse_args()
    folder = prior_folder(options.prior)
    prior = CascadePrior.from_pretrained(folder)
    cached = options.data.suffix == CACHE_ENDING
    seed = options.phase_seed if prior.channels == 2 and not cached else None
    volumes = load_volumes(options.data, 4, (2, 4), seed, exclude=options.exclude)
    reference = domain_of(volumes, prior)
    if reference is None:
        raise MRCascadeError(
            f"{folder}: no domain, as its coarsest level has no denoiser or there are too few"
            " people"
        )
    write_domain(folder, reference)
    print(f"{folder}: domain of {reference.people} people")


if __name__ == "__main__":
    run(main)
