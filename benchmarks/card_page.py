"""Model card of a prior as Markdown, from its facts and a short text written by hand.

The text has an introduction and the sections "Intended use" and "Limits"; every figure comes from
the facts. A folder of several priors, such as ``mr-small-baselines``, has one card.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from card_facts import BASELINE, MODE
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.tables import markdown_table
from mrcascade.prior.card import FACTS
from mrcascade.prior.format import PRIOR_FILE, SLICES

Facts = Mapping[str, Any]
TEXTS = Path(__file__).parent / "cards"  # texts written by hand
SECTIONS = ("Intended use", "Limits")
# Validation errors of the card -> their titles.
SHOWN = {"mean": "branch", "s0.2": "s = 0.2", "s3": "s = 3", "s80": "s = 80"}


def priors_below(folder: Path) -> dict[str, Path]:
    """Return name -> folder of the priors that a card in ``folder`` describes."""
    if (folder / PRIOR_FILE).is_file():
        name, slices = folder.resolve().name, folder / SLICES
        found = {name: folder}
        return found | ({f"{name}/{SLICES}": slices} if (slices / PRIOR_FILE).is_file() else {})
    return {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{PRIOR_FILE}"))}


def card_folder(prior: Path) -> Path:
    """Return the folder of a prior's card: that of its text, the prior's own or the one above."""
    for folder in (prior, prior.parent):
        if text_file(folder).is_file():
            return folder
    raise MRCascadeError(
        f"{text_file(prior)}: not there; write an introduction and the sections"
        f" {' and '.join(SECTIONS)}"
    )


def text_file(folder: Path) -> Path:
    """Return the file with the text of a card in ``folder``."""
    return TEXTS / f"{folder.resolve().name}.md"


def render(folder: Path) -> str:
    """Return the card of the prior or priors in ``folder``."""
    priors = priors_below(folder)
    facts = {name: json.loads((path / FACTS).read_text()) for name, path in priors.items()}
    text = _sections(text_file(folder))
    parts = [
        f"# {folder.resolve().name}",
        text[""],
        "\n".join(_about(name, told, len(facts) > 1) for name, told in facts.items()),
        f"## {SECTIONS[0]}\n\n{text[SECTIONS[0]]}",
        "## Data and licences",
        _data([told["data"] for told in facts.values()]),
        *_figures(facts),
        "## Training",
        _training(facts, {name: path.relative_to(folder) / FACTS for name, path in priors.items()}),
        f"## {SECTIONS[1]}\n\n{text[SECTIONS[1]]}",
    ]
    return "\n\n".join(parts) + "\n"


def _sections(path: Path) -> dict[str, str]:
    begin, *sections = path.read_text().split("\n## ")
    found = {"": begin.strip()}
    for section in sections:
        title, _, body = section.partition("\n")
        found[title.strip()] = body.strip()
    if tuple(found) != ("", *SECTIONS):
        raise MRCascadeError(f"{path}: give an introduction and the sections {', '.join(SECTIONS)}")
    return found


def _about(name: str, facts: Facts, several: bool) -> str:
    told = facts["prior"]
    phase = f" ({told['phase']} phase)" if told["phase"] else ""
    text = (
        f"{told['kind'].capitalize()} images{phase}, kernel `{told['kernel']}`, factors up to"
        f" {told['maximum_factor']} per axis, {_counted(len(told['levels']), 'level')},"
        f" {told['bytes'] / 1e6:.1f} MB."
    )
    return f"- `{name}`: {text[0].lower()}{text[1:]}" if several else text


def _data(data: Sequence[Facts]) -> str:
    if any(told != data[0] for told in data):
        raise MRCascadeError("priors of one card must have the same training images")
    told = data[0]
    parts = [f"Training: {told['slices']} slices of {_people(told['train'])}."]
    if "validation" in told:
        parts.append(f"Validation: {_people(told['validation'])}.")
    rows = [
        [
            f"{', '.join(f'`{pattern}`' for pattern in source['files'])} ({source['count']})",
            source["licence"].replace("|", "/"),
            source["attribution"].replace("|", "/"),
        ]
        for source in told["train"]["sources"]
    ]
    table = markdown_table(["files", "licence as its source states it", "attribution"], rows)
    return " ".join(parts) + "\n\n" + table


def _people(images: Facts) -> str:
    anatomies = images["anatomies"]
    files, subjects = (sum(told[key] for told in anatomies) for key in ("files", "subjects"))
    each = "; ".join(
        f"{told['anatomy']} {told['subjects']}"
        f" ({', '.join(f'{name} {n}' for name, n in told['contrasts'].items())})"
        for told in anatomies
    )
    return f"{files} files and {subjects} subjects. Subjects (files per contrast): {each}"


def _figures(facts: Mapping[str, Facts]) -> list[str]:
    parts = []
    for name, told in facts.items():
        of = f" of `{name}`" if len(facts) > 1 else ""
        if evaluations := told.get("evaluations"):
            parts += [_gains(evaluations, of)]
        if rows := told.get("calibration"):
            parts += [_calibration(rows, of)]
    return ["## Figures", *parts] if parts else []


def _gains(evaluations: Sequence[Facts], of: str) -> str:
    """Return a table of gains: a row per group, a column per evaluation."""
    first = evaluations[0]
    rows = []
    for group in _shown(first["groups"]):
        cells = [group["name"], str(group["slices"]), str(group["subjects"])]
        for evaluation in evaluations:
            same = [g for g in evaluation["groups"] if g["name"] == group["name"]]
            cells.append(gain(same[0]) if same else "")
        rows.append(cells)
    splits = sorted({evaluation["split"] for evaluation in evaluations})
    how = (
        f"Gain of mode `{MODE}`{of} over zero filling, {' and '.join(splits)} split, at most"
        f" {_counted(first['slices_per_file'], 'slice')} per file"
    )
    if any(evaluation.get("simulated_phase") for evaluation in evaluations):
        how += ", simulated phase"
    table = markdown_table(["images", "slices", "people", *map(_task, evaluations)], rows)
    return "\n\n".join([" ".join([f"{how}.", *_notes(evaluations)]), table])


def _notes(evaluations: Sequence[Facts]) -> list[str]:
    """Return the notes; one that is not of all evaluations says of which it is."""
    tasks: dict[str, list[str]] = {}
    for evaluation in evaluations:
        for note in evaluation["notes"]:
            tasks.setdefault(note.removeprefix("Careful: "), []).append(_task(evaluation))
    return [
        note if len(of) == len(evaluations) else f"{' and '.join(of)}: {note}"
        for note, of in tasks.items()
    ]


def _shown(groups: Sequence[Facts]) -> list[Facts]:
    """Return anatomies, and those of their contrasts that show several people but not all files."""
    kept = []
    for anatomy in (group for group in groups if group["kind"] == "anatomy"):
        kept.append(anatomy)
        kept += [
            group
            for group in groups
            if group["name"].startswith(f"{anatomy['name']}/")
            and group["subjects"] > 1
            and group["files"] < anatomy["files"]
        ]
    return kept


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _task(evaluation: Facts) -> str:
    noise = f", {100 * evaluation['noise']:g} % noise" if evaluation["noise"] else ""
    kernel = "" if evaluation["kernel"] == "fourier" else f", {evaluation['kernel']}"
    factor = evaluation["factor"] if "x" in evaluation["factor"] else f"{evaluation['factor']}x"
    return f"{factor}{kernel}{noise}"


_RATIOS = {"lpips": "LPIPS", "nmse_complex": "complex NMSE", "phase_error": "phase error"}


def gain(group: Facts) -> str:
    """Return the gain of a group: PSNR in dB, and other errors in per cent of zero filling's."""
    zero, mean = group[BASELINE], group[MODE]
    cells = [f"{mean['psnr_slice'] - zero['psnr_slice']:+.2f} dB"]
    for key, title in _RATIOS.items():
        if key in zero and key in mean and zero[key]:
            cells.append(f"{title} {100 * (mean[key] / zero[key] - 1):+.0f} %")
    return ", ".join(cells)


def _calibration(rows: Sequence[Facts], of: str) -> str:
    tasks = list(dict.fromkeys((row["split"], row["factor"]) for row in rows))
    noises = sorted({row["noise"] for row in rows})
    found = {
        (row["split"], row["factor"], row["noise"]): row["spread_skill"]
        for row in rows
        if row["anatomy"] == "all"
    }
    cells = [
        [f"{100 * noise:g} %", *(_number(found.get((*task, noise)), 2) for task in tasks)]
        for noise in noises
    ]
    titles = ["added noise", *(f"{split} {factor:g}x" for split, factor in tasks)]
    how = (
        f"Spread/skill of the standard deviation map{of} (`benchmarks/calibration.py`; 1 is"
        " calibrated, below 1 it promises too much)."
    )
    single = [row["spread_skill"] for row in rows if row["anatomy"] != "all"]
    if single:
        how += f" Single anatomies lie between {min(single):.2f} and {max(single):.2f}."
    return f"{how}\n\n{markdown_table(titles, cells)}"


def _training(facts: Mapping[str, Facts], files: Mapping[str, Path]) -> str:
    rows, totals = [], []
    for name, told in facts.items():
        for level in told["prior"]["levels"]:
            runs = [run for run in told["training"] if run["level"] == level["level"]]
            if not runs:
                continue
            several = len(facts) > 1
            label = f"`{name}`" * several
            if not several or len({run["level"] for run in told["training"]}) > 1:
                label = f"{label} {level['level']}".strip()
            branch, unet = (sum(run[key] for run in runs) for key in _PATCHES)
            cost = sum(run["petaflop"] for run in runs)
            hours = sum(run["seconds"] for run in runs) / 3600
            weights = [_millions(level[key]) for key in ("branch_weights", "unet_weights")]
            errors = level["validation"] or {}
            errors |= {"mean": errors.get("mean", errors.get("mean_slices"))}
            rows.append(
                [
                    label,
                    *(
                        f"{size}, {count:,}" if count else size
                        for size, count in zip(weights, (branch, unet), strict=True)
                    ),
                    f"{cost:.2g}",
                    f"{hours:.1f}",
                    *(_significant(errors.get(key)) for key in SHOWN),
                ]
            )
            totals.append((cost, hours))
    titles = ["prior" if len(facts) > 1 else "level"]
    titles += ["branch: weights, patches", "U-Net: weights, patches", "PFLOP", "hours"]
    titles += [f"error: {title}" for title in SHOWN.values()]
    machines = {run["hardware"] for told in facts.values() for run in told["training"]}
    links = ", ".join(f"[{path.as_posix()}]({path.as_posix()})" for path in files.values())
    cost, hours = (sum(column) for column in zip(*totals, strict=True))
    return (
        f"{cost:.3g} PFLOP in {hours:.1f} hours, on {'; '.join(sorted(machines))}. Errors are the"
        " mean squared error over the band's energy on validation patches; s is the noise level."
        f"{_of_slices(facts)}"
        f" Commands: {links}.\n\n" + markdown_table(titles, rows)
    )


def _of_slices(facts: Mapping[str, Facts]) -> str:
    names = [name for name in facts if name.endswith(f"/{SLICES}")]
    return f" For `{names[0]}` it is that of slices 4 samples apart." if names else ""


_PATCHES = ("branch_patches", "unet_patches")


def _millions(value: int | None) -> str:
    return "none" if value is None else f"{value / 1e6:.2f} M"


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


def _significant(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
