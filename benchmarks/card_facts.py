"""Facts of a prior's card, from its files, a manifest, evaluations and training runs.

`card.py` writes them to ``facts.json`` beside the weights, and `card_page.py` makes the card.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch

from mrcascade.data.contrast import contrast_family
from mrcascade.errors import MRCascadeError
from mrcascade.networks import LevelConfig, count_flop, parameter_count
from mrcascade.prior.cascade import CascadePrior, read_prior
from mrcascade.prior.denoiser import LevelNetworks
from mrcascade.prior.format import PRIOR_FILE, read_document
from mrcascade.storage.files import TABLE_BYTES, read_json
from mrcascade.training.config import ADAPTING, TrainConfig
from mrcascade.training.files import PRIOR_FOLDER

Facts = dict[str, Any]
BASELINE, MODE = "zero-fill", "mean"  # methods whose difference is the card's gain
GRADIENT = 3  # cost of a training step on a network over that of its forward pass
# Fields of the training's settings -> options of ``mrcascade train``. Others are set by ``--set``.
_OPTIONS = {
    "network": "--network",
    "kernel": "--kernel",
    "precision": "--precision",
    "seed": "--seed",
    "start": "--start",
    "batch": "--batch-size",
}
_ALWAYS = ("network",)


def prior_facts(folder: Path) -> Facts:
    """Return a prior's name, kind, size, and networks and validation errors per level."""
    prior, _ = read_prior(str(folder))
    document = read_document(folder)
    files = [folder / level["file"] for level in document["levels"]]
    return {
        "name": prior.name,
        "sha256": prior.digest,
        "kind": "magnitude" if prior.channels == 1 else "complex",
        "phase": prior.provenance.get("phase"),
        "kernel": prior.kernel,
        "maximum_factor": document["maximum_factor"],
        "bytes": sum(file.stat().st_size for file in files),
        "levels": [_level(prior, number) for number in range(1, len(prior.levels) + 1)],
    }


def _level(prior: CascadePrior, number: int) -> Facts:
    spec = prior.levels[number - 1].spec
    networks = _on_meta(spec.networks, prior.channels)
    return {
        "level": number,
        "data_condition": spec.networks.data,
        **{
            f"{name}_weights": None if network is None else parameter_count(network)
            for name, network in (("branch", networks.mean), ("unet", networks.unet))
        },
        "validation": spec.training.get("validation"),
    }


def _on_meta(config: LevelConfig, channels: int) -> LevelNetworks:
    """Return networks without data; their weights are as many in the inference form."""
    with torch.device("meta"):
        return LevelNetworks(config, channels)


def data_facts(provenance: Mapping[str, Any], manifest: Path) -> Facts:
    """Return the training and validation images of a prior, by anatomy and by licence.

    Raises MRCascadeError for a file without licence or attribution in the manifest.
    """
    told = {entry["file"]: entry for entry in read_json(manifest, TABLE_BYTES)}
    facts: Facts = {"slices": provenance["slices"]}
    for key, name in (("train", "files"), ("validation", "validation_files")):
        if name not in provenance:
            continue
        files = provenance[name]
        for file in files:
            if not all(told.get(file, {}).get(k) for k in ("licence", "attribution")):
                raise MRCascadeError(
                    f"{manifest}: no licence and attribution of {file}, which the card has to name"
                )
        entries = [told[file] for file in files]
        facts[key] = {
            "anatomies": _anatomies(entries),
            "sources": _sources(entries, list(told)),
        }
    return facts


def _anatomies(entries: Sequence[Mapping[str, Any]]) -> list[Facts]:
    result = []
    for anatomy in sorted({entry["anatomy"] for entry in entries}):
        own = [entry for entry in entries if entry["anatomy"] == anatomy]
        contrasts = [contrast_family(entry["contrast"]) for entry in own]
        counts = {contrast: contrasts.count(contrast) for contrast in sorted(set(contrasts))}
        subjects = len({entry["subject"] for entry in own})
        result.append(
            {"anatomy": anatomy, "subjects": subjects, "files": len(own), "contrasts": counts}
        )
    return result


def _sources(entries: Sequence[Mapping[str, Any]], known: Sequence[str]) -> list[Facts]:
    """Return the files of each licence and attribution, as patterns that match no others."""
    groups: dict[tuple[str, str], list[str]] = {}
    for entry in entries:
        groups.setdefault((entry["licence"], entry["attribution"]), []).append(entry["file"])
    return [
        {
            "files": list(patterns(files, set(known) - set(files))),
            "count": len(files),
            "licence": licence,
            "attribution": attribution,
        }
        for (licence, attribution), files in groups.items()
    ]


def patterns(files: Sequence[str], others: Iterable[str]) -> Iterable[str]:
    """Yield patterns that match all files and no others; ``*`` stands at their ends only.

    Example:
        >>> list(patterns(["a/x1", "a/x2", "b/y"], ["a/z"]))
        ['a/x*', 'b/y']
    """
    others = list(others)
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*files, strict=False))
    begin = "".join(letters[0] for letters in same)
    if len(files) == 1:
        yield files[0]
    elif begin.count("/") and not any(other.startswith(begin) for other in others):
        yield f"{begin}*"
    else:
        for nexts in sorted({file[len(begin) : len(begin) + 1] for file in files}):
            yield from patterns([f for f in files if f.startswith(begin + nexts)], others)


def evaluation_facts(folder: Path, digest: str) -> Facts:
    """Return measurement and gains of an evaluation, per anatomy and contrast.

    Args:
        folder: output of ``mrcascade evaluate`` with the methods ``zero-fill`` and ``mean``.
        digest: SHA-256 of the prior's ``prior.json``, which the evaluation must have used.
    """
    path = folder / "table.json"
    if not path.is_file():
        raise MRCascadeError(f"{path}: not there; run `mrcascade evaluate` to its end first")
    document = read_json(path, TABLE_BYTES)
    methods, settings = document["methods"], document["settings"]
    if not {BASELINE, MODE} <= methods.keys():
        raise MRCascadeError(f"{path}: evaluate with --methods {BASELINE},{MODE}")
    if methods[MODE]["prior_sha256"] != digest:
        raise MRCascadeError(f"{path}: made with other weights or settings; evaluate this prior")
    kept = ("split", "factor", "kernel", "noise", "noise_handling", "seed", "simulated_phase")
    return {
        **{key: settings[key] for key in kept if key in settings},
        "prior_sha256": digest,
        "precision": methods[MODE]["precision"],
        "slices_per_file": max(len(numbers) for numbers in settings["slices"].values()),
        "notes": [note for note in document["notes"] if "LPIPS" not in note],
        "groups": group_facts(document["slices"]),
    }


def group_facts(groups: Sequence[Mapping[str, Any]]) -> list[Facts]:
    """Return means of both methods on every anatomy and contrast of a table's groups."""
    found: dict[tuple[str, str], Facts] = {}
    for group in groups:
        if group["kind"] not in ("anatomy", "contrast") or group["method"] not in (BASELINE, MODE):
            continue
        sizes = {key: group[key] for key in ("kind", "name", "slices", "files", "subjects")}
        means = {name: told["mean"] for name, told in group["metrics"].items()}
        facts = found.setdefault((group["kind"], group["name"]), sizes)
        facts[group["method"]] = {name: v for name, v in means.items() if v is not None}
    return list(found.values())


def calibration_facts(path: Path, digest: str) -> list[Facts]:
    """Return the rows of ``calibration.py -o``. Raises MRCascadeError for another prior."""
    document = read_json(path, TABLE_BYTES)
    if document["prior_sha256"] != digest:
        raise MRCascadeError(f"{path}: made with other weights or settings; calibrate this prior")
    return list(document["rows"])


def run_facts(run: Path) -> list[Facts]:
    """Return command, patches, seconds and PFLOP of each level of a training run.

    run: folder of ``mrcascade train``, whose prior is written.
    """
    if not (run / PRIOR_FOLDER / PRIOR_FILE).is_file():
        raise MRCascadeError(f"{run}: not a folder of `mrcascade train` that has ended")
    prior, _ = read_prior(str(run / PRIOR_FOLDER))
    levels = read_document(run / PRIOR_FOLDER)["levels"]
    result = []
    for number, (level, document) in enumerate(zip(prior.levels, levels, strict=True), start=1):
        training, networks = level.spec.training, level.spec.networks
        config = training["config"]
        branch = config["mean_images"] or 0
        patches = (branch, training["images"] - branch)
        side = config["coarse_patch" if number == len(levels) else "patch"]
        result.append(
            {
                "level": number,
                "sha256": document["sha256"],
                "command": command(number, training, both=bool(networks.mean and networks.unet)),
                "start": config["start"],
                "branch_patches": patches[0],
                "unet_patches": patches[1],
                "seconds": training["seconds"],
                "petaflop": petaflop(networks, prior.channels, side, *patches),
                "hardware": prior.provenance["hardware"],
            }
        )
    return [told for told in result if told["branch_patches"] + told["unet_patches"]]


def command(level: int, training: Mapping[str, Any], both: bool) -> str:
    """Return the command that trains a level with the settings of its prior.json.

    both: whether the level has a regression branch and a U-Net, which share the patches.
    """
    config, defaults = training["config"], {f.name: f.default for f in fields(TrainConfig)}
    if config.get("start"):
        defaults |= ADAPTING
    words = ["mrcascade train --data slices.hdf5", f"--levels {level}"]
    for key, value in config.items():
        if key in ("channels", "mean_images") or isinstance(value, list):
            continue
        if value == defaults.get(key) and key not in _ALWAYS:
            continue
        text = str(value).lower() if isinstance(value, bool) else str(value)
        words.append(f"{_OPTIONS[key]} {text}" if key in _OPTIONS else f"--set {key}={text}")
    words += [f"--exclude {word}" for word in config.get("exclude", ())]
    words.append(f"--images {training['images']}")
    if both:
        words.append(f"--mean-images {config['mean_images']}")
    return " ".join([*words, "-o RUN"])


def petaflop(networks: LevelConfig, channels: int, side: int, branch: int, unet: int) -> float:
    """Return the 10^15 operations of a level's training.

    A patch costs three forward passes of the network in training. A patch of the U-Net's also
    costs one of the branch.
    """
    built = _on_meta(networks, channels)
    width = built.condition_channels
    costs = [0, 0]
    if built.mean is not None:
        costs[0] = count_flop(built.mean, torch.zeros(1, width, side, side))
    if built.unet is not None:
        noisy = width + channels * (2 if width else 1)
        costs[1] = count_flop(built.unet, torch.zeros(1, noisy, side, side), torch.zeros(1))
    total = branch * GRADIENT * costs[0] + unet * (GRADIENT * costs[1] + costs[0])
    return round(total / 1e15, 4)


def merged_runs(earlier: Sequence[Facts], later: Sequence[Facts]) -> list[Facts]:
    """Return all runs, oldest first; a level whose weights stand there already counts once."""
    known = {told["sha256"] for told in earlier}
    return [*earlier, *(told for told in later if told["sha256"] not in known)]


def read_facts(path: Path) -> Facts:
    """Return ``facts.json``; {} if there is none yet."""
    return dict(json.loads(path.read_text())) if path.is_file() else {}
