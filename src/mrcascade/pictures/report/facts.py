"""Facts and warnings of a result, by its sidecar, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mrcascade.messages.duration import rounded

Sidecar = Mapping[str, Any]
# Sections of settings that other rows show, or that only repeat them.
_SHOWN = {"Name", "Noise", "Scale", "Zero", "Prior", "Operator", "Samples", "Seed", "Margins"}
_RESIDUAL = "Residual ||y - H x|| / ||y||"
_NAMED = 3  # file names that are listed; more are counted


@dataclass(frozen=True)
class Section:
    """A titled table of names and values.

    Attributes:
        title: title of the table.
        rows: names and values.
        folded: whether a report shows the title alone until it is opened.
    """

    title: str
    rows: Sequence[tuple[str, str]]
    folded: bool = False


def sections_of(sidecar: Sidecar, seconds: float | None = None) -> list[Section]:
    """Return the tables of a report, those that everybody reads first.

    Args:
        sidecar: the sidecar of a result; entries that are missing give no row.
        seconds: time of the work, where it is known.
    """
    tables = (
        Section("Result", _result(sidecar)),
        Section("Quality", _quality(sidecar)),
        Section("Run", _run(sidecar, seconds)),
        Section("All settings", _settings(sidecar), folded=True),
    )
    return [table for table in tables if table.rows]


def warnings_of(sidecar: Sidecar) -> list[str]:
    """Return lines about what may be wrong with a result."""
    found = []
    if sidecar.get("OutOfDomain"):
        found.append(
            f"The image is unlike those that prior {sidecar.get('Prior')} was made with (domain"
            f" score {_score(sidecar)}, limit 1): detail in the result may be"
            " wrong. Compare it with the interpolated data."
        )
    if "AcquiredMatrix" in sidecar and not sidecar.get("CroppedToAcquired"):
        found.append(
            f"The stored pixels ({_sides(sidecar.get('StoredMatrix'))}) were interpolated from"
            f" {_sides(sidecar['AcquiredMatrix'])} acquired ones"
            f" ({sidecar.get('AcquiredMatrixOrigin', 'origin unknown')}), which is not what the"
            " prior was trained for. --acquired-matrix auto crops first."
        )
    if "uncertain" in str(sidecar.get("NoiseOrigin", "")):
        found.append("The noise level is uncertain: --noise states it.")
    thick = sidecar.get("ThickSlices")
    notes = thick.get("Notes", []) if isinstance(thick, Mapping) else []
    told = sidecar.get("Warnings", [])
    return found + [str(line) for line in (*notes, *(told if isinstance(told, list) else []))]


def made_with(sidecar: Sidecar) -> list[str]:
    """Return a few lines about how a result was made, with its warnings, for a terminal."""
    run, quality = dict(_run(sidecar, None)), dict(_quality(sidecar))
    parts = [str(sidecar.get("Description", "")).partition(". ")[0]]
    parts += [f"{key.lower()} {run[key]}" for key in ("Mode", "Prior", "Kernel") if key in run]
    if run.get("Samples", "1") != "1":
        parts.append(f"{run['Samples']} samples")
    seed = _entry(sidecar, "Settings", "Seed")
    parts += [] if seed is None else [f"seed {seed}"]
    lines = [
        ("made by", run.get("Software", "")),
        ("made as", ", ".join(filter(None, parts))),
        ("made of", _names(sidecar.get("Sources"))),
        ("noise of its input", quality.get("Noise", "")),
        ("its residual", quality.get(_RESIDUAL, "")),
        ("its domain score", quality.get("Domain score", "")),
    ]
    told = [f"{name}: {value}" for name, value in lines if value]
    return told + [f"warning: {line}" for line in warnings_of(sidecar)]


def _noise(sidecar: Sidecar) -> str:
    """Return the noise and its origin in words; empty where the sidecar has none."""
    noise = _entry(sidecar, "Settings", "Noise")
    origin = str(sidecar.get("NoiseOrigin", ""))
    if not isinstance(noise, int | float):
        return origin
    share = "none" if noise == 0 else f"{100 * noise:.2g} % of the maximum"
    return f"{share} ({origin})" if origin else share


def _result(sidecar: Sidecar) -> list[tuple[str, str]]:
    thick = sidecar.get("ThickSlices")
    rows = [
        ("Change", sidecar.get("Resolution")),
        ("In-plane matrix", _sides(sidecar.get("InPlaneMatrix"))),
        ("Sources", _names(sidecar.get("Sources"))),
        ("Files", _names(sidecar.get("Files"))),
    ]
    if isinstance(thick, Mapping):
        rows.append(
            (
                "Slices before",
                f"{thick.get('Slices')}, {_number(thick.get('SliceThickness'))} mm thick"
                f" ({thick.get('SliceThicknessOrigin')}),"
                f" {_number(thick.get('SpacingBetweenSlices'))} mm apart,"
                f" {thick.get('Profile')} profile",
            )
        )
    rows += [
        ("Acquired matrix", _sides(sidecar.get("AcquiredMatrix"))),
        ("Field of view", sidecar.get("FieldOfView")),
        ("Pixels", sidecar.get("PixelNote")),
    ]
    return _known(rows)


def _quality(sidecar: Sidecar) -> list[tuple[str, str]]:
    before, stored = sidecar.get("Residual"), sidecar.get("ResidualStored")
    both = f"{_number(before)} computed, {_number(stored)} as stored"
    score = sidecar.get("DomainScore")
    domain = "" if score is None else f"{_score(sidecar)} (above 1: unlike the training images)"
    return _known(
        [
            ("Noise", _noise(sidecar)),
            (_RESIDUAL, both if stored is not None else _number(before)),
            ("Domain score", domain),
        ]
    )


def _settings(sidecar: Sidecar) -> list[tuple[str, str]]:
    settings = sidecar.get("Settings")
    settings = settings if isinstance(settings, Mapping) else {}
    rows = [
        ("Seed", settings.get("Seed")),
        ("Maximum (scale)", _number(settings.get("Scale"), ".6g")),
        ("Value of no signal", _number(settings.get("Zero"))),
    ]
    stated = [key for key, value in settings.items() if key not in _SHOWN and value is not None]
    rows += [(key, _plain(settings[key])) for key in stated]
    for key in ("EvaluationsPerSlice", "EvaluationsPerPlane"):
        if isinstance(counts := sidecar.get(key), Mapping):
            counted = ", ".join(f"level {level}: {count}" for level, count in counts.items())
            rows.append((f"Evaluations per {key[14:].lower()}", counted))
    return _known(rows)


def _run(sidecar: Sidecar, seconds: float | None) -> list[tuple[str, str]]:
    software = sidecar.get("Software")
    software = software if isinstance(software, list) else []
    versions = [f"{one.get('Name')} {one.get('Version')}" for one in software if _is_map(one)]
    device = " ".join(str(sidecar[k]) for k in ("Device", "DeviceName") if k in sidecar)
    return _known(
        [
            ("Mode", _entry(sidecar, "Settings", "Name")),
            ("Samples", _entry(sidecar, "Settings", "Samples")),
            ("Prior", sidecar.get("Prior")),
            ("Kernel", sidecar.get("Kernel")),
            ("Software", ", ".join(versions)),
            ("Device", device),
            ("Precision", sidecar.get("Precision")),
            ("Batch size", sidecar.get("BatchSize")),
            ("Time", "" if seconds is None else rounded(seconds)),
        ]
    )


def _known(rows: Sequence[tuple[str, Any]]) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in rows if value not in (None, "", [], {})]


def _entry(sidecar: Sidecar, *keys: str) -> Any:
    value: Any = sidecar
    for key in keys:
        value = value.get(key) if _is_map(value) else None
    return value


def _is_map(value: Any) -> bool:
    return isinstance(value, Mapping)


def _number(value: Any, form: str = ".3g") -> str:
    return f"{value:{form}}" if isinstance(value, int | float) else ""


def _score(sidecar: Sidecar) -> str:
    return _number(sidecar.get("DomainScore"), ".2f")


def _sides(value: Any) -> str:
    return " x ".join(map(str, value)) if isinstance(value, list) else ""


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _names(value: Any) -> str:
    names = list(map(str, value.values() if _is_map(value) else value or []))
    if len(names) <= 2 * _NAMED:
        return ", ".join(names)
    return f"{', '.join(names[:_NAMED])}, ... ({len(names)} files)"
