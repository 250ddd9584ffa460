"""Text of a report: test set, measurement, conventions, prior, hardware, notes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mrcascade import __version__
from mrcascade.devices.facts import tf32
from mrcascade.evaluation.job import Evaluation, Surveyed, factor_text
from mrcascade.evaluation.ledger import SETTINGS_FILE, TABLE_FILES, Ledger
from mrcascade.evaluation.lpips import BACKBONE_FILES, LINEAR_FILES, NETWORK, LPIPSFiles
from mrcascade.evaluation.methods import Described, find_method
from mrcascade.evaluation.subjects import Seen, Subjects, describe_subjects, notes_on_subjects
from mrcascade.io import NOTICE, atomic_outputs
from mrcascade.measurement.domain import DomainScore
from mrcascade.prior.cascade import CascadePrior

# Source of a file's acquired matrix -> its description.
_TOLD_BY = {
    "table": "by the table",
    "header": "by their header",
    "spectrum": "by the empty border of their k-space",
    "": "by the stored matrix, as nothing tells more",
}

#: Noise handling -> its description.
HANDLING = {
    "estimated": "methods estimate the noise from the measurement, as sr does by default",
    "known": "methods are told the noise (--noise-handling known)",
}


def describe_test_set(job: Evaluation, survey: Sequence[Surveyed]) -> str:
    """Describe the data, the number of slices, and the slices left out."""
    slices, empty = sum(len(s.numbers) for s in survey), sum(s.empty for s in survey)
    limits = [] if job.max_slices is None else [f"at most {job.max_slices} per file"]
    if job.anatomy_slices is not None:
        limits.append(f"at most {job.anatomy_slices} per anatomy, drawn with seed {job.seed}")
    limit = f" ({', '.join(limits)})" if limits else ""
    return (
        f"{job.data.resolve().name}, split {job.split}: {slices} slices{limit} of {len(survey)}"
        f" files; {empty} empty slices left out (mean magnitude below 2 % of the volume's robust"
        " maximum)"
    )


def describe_truth(survey: Sequence[Surveyed]) -> str:
    """Describe how ground truths were cropped, and on what evidence."""
    counts = Counter(s.told_by for s in survey)
    told = ", ".join(f"{counts[key]} {words}" for key, words in _TOLD_BY.items() if counts[key])
    return (
        f"Fourier-cropped to the acquired matrix (of {len(survey)} files, {told}), centre-cropped"
        " to a size that the factor divides"
    )


def describe_phase(job: Evaluation) -> str:
    """Describe the origin of the phase of complex images, and its metrics."""
    origin = (
        f"SIMULATED: magnitude images times a smooth made-up phase, seed {job.seed}"
        if job.simulate_phase
        else "that of the files"
    )
    return (
        f"{origin}. Metrics are of magnitudes, but complex NMSE and phase error: the rms of the"
        " phase difference, weighted by the ground truth's magnitude"
    )


def facts(
    job: Evaluation, ledger: Ledger, survey: Sequence[Surveyed], subjects: Subjects
) -> dict[str, str]:
    """Return title -> text for the head of the report, with the methods of the ledger."""
    lpips = "not computed, no weights found"
    if ledger.document["settings"]["lpips"]:
        lpips = (
            f"{NETWORK}; magnitudes, the slice's ground-truth maximum at 1 and zero at -1,"
            " repeated in three channels"
        )
    phase = {"Phase": describe_phase(job)} if any(s.complex for s in survey) else {}
    return {
        "Test set": describe_test_set(job, survey),
        "Subjects": describe_subjects(survey, subjects),
        "Ground truth": describe_truth(survey),
        **phase,
        "Measurement": f"{job.kernel} {factor_text(job.factor)}x, noise {job.noise:g} of the"
        f" measurement's robust maximum, seed {job.seed}; {HANDLING[job.noise_handling]}",
        **method_facts(ledger, find_method, job.device),
        "Data range": "the ground truth's maximum, of the slice or of the volume, as labelled",
        "SSIM": "uniform 7x7 window, K1 = 0.01, K2 = 0.03, sample covariance (fastMRI's settings)",
        "LPIPS": lpips,
        "Time": f"wall time per slice on {timed_on(ledger)}",
        **software_facts(),
    }


def write_report(
    ledger: Ledger,
    markdown: str,
    facts: Mapping[str, str],
    notes: Sequence[str],
    groups: Mapping[str, Any],
) -> list[Path]:
    """Write ``table.md`` and ``table.json``; return their paths.

    Args:
        ledger: the evaluation, whose settings the second one repeats.
        markdown: the first one.
        facts: title -> text, for the head of the report.
        notes: sentences below the facts.
        groups: further entries of ``table.json``.
    """
    record = {
        **{k: v for k, v in ledger.document.items() if k != "outputs"},
        "facts": dict(facts),
        "notes": list(notes),
        **groups,
    }
    targets = [ledger.folder / name for name in TABLE_FILES]
    with atomic_outputs(targets, overwrite=True) as (text, data):
        text.write_text(markdown, encoding="utf-8", errors="backslashreplace")
        data.write_text(json.dumps(record, indent=1) + "\n")
    return targets


def method_facts(ledger: Ledger, find: Callable[[str], Described], device: str) -> dict[str, str]:
    """Return title -> text about the methods of the ledger, their priors and their precision.

    Args:
        ledger: the evaluation.
        find: returns a method by its name.
        device: device of the networks.
    """
    methods = {m: ledger.document["methods"][m] for m in ledger.methods}
    priors = {
        f"{s['prior']} ({_short(s['prior_sha256'])})" for s in methods.values() if "prior" in s
    }
    precisions = {s["precision"] for s in methods.values() if "precision" in s}
    return {
        "Intensity scale": "robust maximum of the measured volume; nothing of the ground truth"
        " reaches a method",
        "Methods": "; ".join(_about(find(m), m, s) for m, s in methods.items()),
        "Prior": ", ".join(sorted(priors)) or "none",
        "Network precision": ", ".join(sorted(precisions)) + _tensor_cores(device, precisions)
        or "no networks",
    }


def software_facts() -> dict[str, str]:
    """Return the versions that made the report, and the notice on research use."""
    return {"Software": f"mrcascade {__version__}, torch {torch.__version__}. {NOTICE}"}


def notes(
    survey: Sequence[Surveyed],
    priors: Iterable[CascadePrior],
    weights: LPIPSFiles | None,
    subjects: Subjects,
) -> list[str]:
    """Return the warnings for the reader of the report."""
    result = []
    if weights is None:
        result.append(
            f"The LPIPS column is empty: {BACKBONE_FILES[0]} and {LINEAR_FILES[0]} were not found;"
            " name their folder with --lpips-weights."
        )
    seen = Seen.by(prior.provenance for prior in priors)
    return result + notes_on_subjects(survey, subjects, seen)


def notes_on_unfinished(ledger: Ledger) -> list[str]:
    """Return a note per method of earlier commands that the tables leave out."""
    return [
        f"Method {method} has not restored every {ledger.layout.part_word} and is left out here."
        for method in ledger.unfinished
    ]


def notes_on_domain(ledger: Ledger) -> list[str]:
    """Return a note per prior on files that are unlike the prior's own images."""
    scores: dict[str, dict[str, float]] = {}
    for file, found in ledger.document["domain"].items():
        for prior, score in found.items():
            scores.setdefault(prior, {})[file] = score
    result = []
    for prior, of_files in scores.items():
        outside = {f: s for f, s in of_files.items() if DomainScore(s, prior).outside}
        if outside:
            worst = max(outside, key=outside.__getitem__)
            result.append(
                f"Careful: {len(outside)} of {len(of_files)} files are unlike the images that prior"
                f" {prior!r} was made with, most of all {worst} (domain score {outside[worst]:.2f},"
                f" limit 1); {SETTINGS_FILE} has the score of each file."
            )
    return result


def _short(digests: str) -> str:
    return " + ".join(digest[:12] for digest in digests.split(" + "))


def timed_on(ledger: Ledger) -> str:
    """Describe the machines that the times of the ledger hold for."""
    places = {m: " and ".join(ledger.document["timed"].get(m, ())) for m in ledger.methods}
    if len(set(places.values())) == 1:
        return next(iter(places.values()))
    each = "; ".join(f"`{m}`: {place}" for m, place in places.items())
    return f"different machines or batches, so that times do not compare ({each})"


def _tensor_cores(device: str, precisions: set[str]) -> str:
    convolutions, products = tf32(device)
    rounded = [" (convolutions in TF32)", " (convolutions and matrix products in TF32)"][products]
    return rounded if convolutions and "float32" in precisions else ""


def _about(method: Described, name: str, settings: Mapping[str, Any]) -> str:
    text = f"`{name}` {method.about}"
    if method.sampled:
        steps = settings["steps"]
        text += ", the recipe's T" if steps is None else f", T = {steps}"
        if method.averaged:
            text += f", the mean of {settings['samples']} samples"
        elif method.draws:
            text += ", one sample"
    return text
