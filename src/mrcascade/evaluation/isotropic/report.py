"""Report of an evaluation on thick slices: its head, its notes and its tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from mrcascade.evaluation.isotropic.job import VOLUME_SCORES, IsotropicEvaluation
from mrcascade.evaluation.isotropic.methods import find_volume_method
from mrcascade.evaluation.isotropic.scores import BODY_SHARE, SSIM_SIGMA
from mrcascade.evaluation.isotropic.survey import VolumeSurvey
from mrcascade.evaluation.ledger import Ledger
from mrcascade.evaluation.report import (
    HANDLING,
    method_facts,
    software_facts,
    timed_on,
    write_report,
)
from mrcascade.evaluation.subjects import Subjects, describe_subjects, subject_of
from mrcascade.evaluation.tables import (
    KINDS,
    LEVEL,
    RESAMPLES,
    Group,
    contrasts_of,
    estimate_cell,
    intervals,
    markdown_table,
    ordered_rows,
    summarise,
)
from mrcascade.io.planes import SPACING_TOLERANCE

CPU = "cpu_seconds"
_AVERAGED = (*VOLUME_SCORES, CPU)
_TITLES = {
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "gain": "lost-band gain",
    "power": "lost-band power",
}
_DECIMALS = {"psnr": 2, "ssim": 4, "gain": 3, "power": 3}
_HOW = (
    f"Means over volumes with {LEVEL:.0%} bootstrap intervals ({RESAMPLES} resamples: subjects with"
    " replacement, then volumes within each drawn subject). One subject gives no interval, and few"
    " subjects say little about other people."
)


def describe_volumes(job: IsotropicEvaluation, survey: VolumeSurvey) -> str:
    """Describe the data and the number of volumes."""
    volumes, files = sum(len(v.axes) for v in survey.volumes), len(survey.volumes)
    axes = "the slice axis" if job.axes is None else f"axis {' and '.join(map(str, job.axes))}"
    left_out = f"; {len(survey.left_out)} left out" if survey.left_out else ""
    return (
        f"{job.data.resolve().name}, split {job.split}: {volumes} volume{'s' * (volumes != 1)},"
        f" thick along {axes}, of {files} file{'s' * (files != 1)}{left_out}"
    )


def describe_slicing(job: IsotropicEvaluation) -> str:
    """Describe the forward model."""
    return (
        f"slices {job.factor:g} samples apart and {job.thickness:g} of that thick,"
        f" {job.profile.name} profile, noise {job.noise:g} of the slices' robust maximum, seed"
        f" {job.seed}; {HANDLING[job.noise_handling]}"
    )


def notes_on_left_out(survey: VolumeSurvey) -> list[str]:
    """Return a note per reason for which files were left out."""
    first: dict[str, str] = {}
    for name, reason in survey.left_out.items():
        first.setdefault(reason, name)
    counts = Counter(survey.left_out.values())
    others = {r: f" and {n - 1} more" if n > 1 else "" for r, n in counts.items()}
    return [f"Left out, {reason}: {name}{others[reason]}." for reason, name in first.items()]


def volume_facts(
    job: IsotropicEvaluation, ledger: Ledger, survey: VolumeSurvey, subjects: Subjects
) -> dict[str, str]:
    """Return title -> text for the head of the report, with the methods of the ledger."""
    return {
        "Test set": describe_volumes(job, survey),
        "Subjects": describe_subjects(survey.volumes, subjects),
        "Ground truth": f"as stored; voxel sizes differ by up to {SPACING_TOLERANCE:.0%}, and"
        f" nothing is resampled. Cropped to up to {job.size} samples per axis around the body",
        "Measurement": describe_slicing(job),
        **method_facts(ledger, find_volume_method, job.device),
        "Scores": f"where the truth exceeds {BODY_SHARE:g} of its 99.9th percentile, closed and"
        " filled, without one thick slice at each end. PSNR and SSIM have that percentile as"
        f" range; SSIM a three-dimensional Gaussian window of {SSIM_SIGMA:g} samples. Gain"
        " <x, t> / <t, t> and power <x, x> / <t, t> are those of the frequencies along the slice"
        " axis that the slices did not measure",
        "Time": f"per volume, of all threads and on the wall, on {timed_on(ledger)}",
        **software_facts(),
    }


def write_volume_tables(
    ledger: Ledger,
    survey: VolumeSurvey,
    facts: Mapping[str, str],
    notes: Sequence[str],
    seed: int,
    subjects: Subjects,
) -> list[Path]:
    """Write ``table.md`` and ``table.json`` of methods without missing volumes.

    Args:
        ledger: rows and settings of the evaluation.
        survey: the files that were evaluated, and those left out.
        facts: title -> text, for the head of the report.
        notes: sentences below the facts.
        seed: seed of the bootstrap.
        subjects: file -> subject, as for `summarise`.

    Returns:
        The written files.
    """
    volumes = survey.volumes
    groups = summarise(ordered_rows(ledger), _AVERAGED, seed, subjects, contrasts_of(volumes))
    parts = ["# Thick slices to isotropic volumes"]
    parts += ["\n".join(f"- **{k}:** {v}" for k, v in facts.items()), *notes, _HOW]
    for kind in KINDS:
        if chosen := [g for g in groups if g.kind == kind]:
            parts += [f"## Per {kind}", _volume_table(chosen)]
    entries = {
        "left_out": survey.left_out,
        "subjects": {v.file.name: subject_of(v.file.name, subjects) for v in volumes},
        "intervals": intervals(seed, _HOW),
        "volumes": [_record(g) for g in groups],
    }
    return write_report(ledger, "\n\n".join(parts) + "\n", facts, notes, entries)


def _record(group: Group) -> dict[str, object]:
    """Return a group under the names of volumes: it counts them, not slices."""
    found = asdict(group)
    return {"volumes" if key == "slices" else key: value for key, value in found.items()}


def _volume_table(groups: list[Group]) -> str:
    titles = [groups[0].kind, "method", "volumes", "files", "subjects", *_TITLES.values()]
    titles += ["largest residual", "CPU s", "s", "NFE", "GFLOP"]
    spread = any(g.spread_skill is not None for g in groups)
    titles += ["spread/skill"] * spread
    rows = []
    for g in groups:
        cells = [g.name, g.method, str(g.slices), str(g.files), str(g.subjects)]
        cells += [estimate_cell(g.metrics[m], _DECIMALS[m]) for m in VOLUME_SCORES]
        cpu = g.metrics[CPU].mean
        cells += [f"{g.residual:.1e}", "n/a" if cpu is None else f"{cpu:.3g}", f"{g.seconds:.3g}"]
        cells += [f"{g.nfe:g}", f"{g.gflop:.4g}"]
        cells += ["" if g.spread_skill is None else f"{g.spread_skill:.2f}"] * spread
        rows.append(cells)
    return markdown_table(titles, rows)
