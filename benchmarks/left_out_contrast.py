"""Quality on a contrast left out of the training, with and without random contrasts.

    python benchmarks/left_out_contrast.py --data DATA --cache CACHE -o left-out

For each contrast (FLAIR, T2) two cascades are trained without it. Networks, patches, seed and order
are equal; only the settings of ``--change`` differ. Mode ``mean`` restores the val split. The
script prints the gain in PSNR over zero filling per anatomy and contrast, and writes
``left_out.json``. Repeat the command to continue an interrupted run. ``--only FLAIR/changed``
trains one of the four cascades, so that they can run at the same time. The table is printed when
all are trained.

Mode ``mean`` needs only the regression branches of levels 1 and 2. They get all patches but the
last batch, and level 3 gets one batch.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from common import names, run, settings
from mrcascade.evaluation.job import Evaluation
from mrcascade.evaluation.run import evaluate
from mrcascade.training.config import TrainConfig
from mrcascade.training.run import train_cascade

ARMS = ("plain", "changed")
CHANGE = "contrast_map_share=0.5,bias_field_share=0.3,blur_share=0.2,added_noise_share=0.2"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="images with a manifest")
    parser.add_argument(
        "--cache", type=Path, required=True, help="cache file of these images, for training"
    )
    parser.add_argument("--contrasts", type=names, default=["FLAIR", "T2"])
    parser.add_argument("--network", default="mini")
    parser.add_argument("--images", type=int, default=20_000, help="patches per level")
    parser.add_argument("--change", default=CHANGE, help="settings of the second arm")
    parser.add_argument("--set", default="", help="settings of both arms")
    parser.add_argument("--factors", type=names, default=["2", "4"])
    parser.add_argument("--max-slices", type=int, default=8, help="slices per file")
    parser.add_argument("--only", help="one CONTRAST/ARM, such as T2/plain")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    wanted = [f"{contrast}/{arm}" for contrast in options.contrasts for arm in ARMS]
    for name in [options.only] if options.only else wanted:
        train(name, options)
    folders = [options.output / name for name in wanted]
    if all(
        (folder / f"{f}x" / "table.json").exists() for folder in folders for f in options.factors
    ):
        report(wanted, options)


def train(name: str, options: argparse.Namespace) -> None:
    """Train one arm, unless it is trained, and evaluate it."""
    contrast, arm = name.split("/")
    config = TrainConfig(
        network=options.network,
        images=options.images,
        exclude=(f"contrast={contrast}",),
        **settings(options.set),
        **(settings(options.change) if arm == "changed" else {}),
    )
    config = replace(config, mean_images=options.images - config.batch)
    folder, few = options.output / name, replace(config, images=config.batch, mean_images=0)
    common = {"resume": True, "device": options.device, "say": print}
    train_cascade(options.cache, folder, few, levels=[3], **common)
    prior = train_cascade(options.cache, folder, config, levels=[1, 2], **common)
    assert prior is not None
    for factor in options.factors:
        job = Evaluation(
            data=options.data,
            methods=("zero-fill", "mean"),
            split="val",
            factor=(float(factor), float(factor)),
            prior=prior,
            max_slices=options.max_slices,
            device=options.device,
        )
        target = folder / f"{factor}x"
        evaluate(job, target, say=print, progress=lambda total: lambda count, text: None)


def gains(table: Path) -> dict[str, float]:
    """Return the gain of mode ``mean`` over zero filling in dB, by anatomy/contrast."""
    found: dict[str, dict[str, float]] = {}
    for group in json.loads(table.read_text())["slices"]:
        if group["kind"] == "contrast":
            psnr = group["metrics"]["psnr_slice"]["mean"]
            found.setdefault(group["name"], {})[group["method"]] = psnr
    return {name: psnr["mean"] - psnr["zero-fill"] for name, psnr in found.items()}


def report(wanted: list[str], options: argparse.Namespace) -> None:
    """Print and write the gains; a star marks the contrast that was left out."""
    tables = {
        f"{name} {factor}x": gains(options.output / name / f"{factor}x" / "table.json")
        for name in wanted
        for factor in options.factors
    }
    (options.output / "left_out.json").write_text(json.dumps(tables, indent=1) + "\n")
    groups = sorted({group for table in tables.values() for group in table})
    print("| without | " + " | ".join(groups) + " |\n" + "| --- " * (len(groups) + 1) + "|")
    for name, table in tables.items():
        left_out = name.split("/")[0]
        cells = [
            f"{table[group]:+.2f}{'*' * (group.split('/')[1] == left_out)}" for group in groups
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    run(main)
