"""The methods paragraph of a result, for a paper: what was done by its sidecar, with citations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

THAKER = (
    "Thaker D, Mostapha M, Miron R, Qiu S, Nadar M. Scale-Cascaded Diffusion Models for"
    " Super-Resolution in Medical Imaging."
)
EDM2 = (
    "Karras T, Aittala M, Lehtinen J, Hellsten J, Aila T, Laine S. Analyzing and Improving the"
    " Training Dynamics of Diffusion Models. CVPR 2024."
)
DIFFPIR = (
    "Zhu Y, Zhang K, Liang J, Cao J, Wen B, Timofte R, Van Gool L. Denoising Diffusion Models for"
    " Plug-and-Play Image Restoration. CVPR Workshops (NTIRE) 2023."
)
MULTISTEP = (
    "Lu C, Zhou Y, Bao F, Chen J, Li C, Zhu J. DPM-Solver++: Fast Solver for Guided Sampling of"
    " Diffusion Probabilistic Models. arXiv:2211.01095, 2022."
)
DPS = (
    "Chung H, Kim J, McCann MT, Klasky ML, Ye JC. Diffusion Posterior Sampling for General Noisy"
    " Inverse Problems. ICLR 2023."
)
#: Words and references of each sampler, by the setting ``sampler``.
SAMPLERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "multistep": ("DPM-Solver++ 2M (Lu et al. 2022)", (MULTISTEP,)),
    "diffpir": ("DiffPIR (Zhu et al. 2023)", (DIFFPIR,)),
    "dps": ("diffusion posterior sampling (Chung et al. 2023)", (DPS,)),
    "multigrid": ("Multi-Grid PnP in its diffusion form", ()),
    "multigrid-pnp": ("Multi-Grid PnP in its deterministic form", ()),
}
# What a kernel does to the fine image, in words.
_KERNELS = {
    "fourier": "a crop of k-space",
    "area": "averages over areas",
    "gaussian": "Gaussian blur and decimation",
    "bicubic": "bicubic downsampling",
}


@dataclass(frozen=True)
class Methods:
    """A methods text.

    Attributes:
        paragraphs: sentences to paste.
        references: the works that they cite.
    """

    paragraphs: Sequence[str] = ()
    references: Sequence[str] = ()


def methods_of(sidecar: Mapping[str, Any]) -> Methods:
    """Return the methods text of a result.

    It states only what the sidecar states. Entries that are missing give no sentence.

    Args:
        sidecar: the sidecar of a result.

    Example:
        >>> from mrcascade.pictures.report.methods import methods_of
        >>> methods_of({"Prior": "mr-small", "Settings": {"Name": "mean"}}).references[0][:8]
        'Thaker D'
    """
    settings = _mapping(sidecar.get("Settings"))
    own = f"mrcascade ({', '.join(_versions(sidecar))})"
    references: list[str] = []
    if "Prior" not in sidecar:
        parts = [f"{_change(sidecar)} with {own} by least squares with the slice profile, without"]
        parts[0] += " a learned prior."
    else:
        references = [THAKER, EDM2]
        parts = [
            f"{_change(sidecar)} with {own} and its prior {sidecar['Prior']}: a cascade of"
            " diffusion models, one per band of a Laplacian pyramid (Thaker et al.), with"
            " EDM2 networks as denoisers (Karras et al. 2024)."
        ]
        words, cited = _estimate(settings)
        parts.append(words)
        references += cited
    parts += [*_measurement(sidecar, settings), *_quality(sidecar)]
    return Methods([" ".join(filter(None, parts))], references)


def _change(sidecar: Mapping[str, Any]) -> str:
    thick = _mapping(sidecar.get("ThickSlices"))
    parts = []
    factor = _mapping(sidecar.get("Request")).get("Factor")
    enlarged = isinstance(factor, list) and max(factor) > 1
    if enlarged or not thick:
        by = " x ".join(f"{f:g}" for f in factor) if isinstance(factor, list) else "in plane"
        matrix = sidecar.get("InPlaneMatrix")
        to = f" (to a matrix of {matrix[0]} x {matrix[1]})" if isinstance(matrix, list) else ""
        parts.append(f"super-resolved in plane by {by}{to}")
    if thick:
        many = len(sidecar.get("Stacks") or [0])
        stack = f"{many} stacks" if many > 1 else "a stack"
        parts.append(
            f"resolved from {stack} of {thick.get('Slices')} slices"
            f" ({_number(thick.get('SliceThickness'))} mm thick,"
            f" {_number(thick.get('SpacingBetweenSlices'))} mm apart, {thick.get('Profile')}"
            f" profile) into slices {_number(sidecar.get('SpacingBetweenSlices'))} mm apart"
        )
    return f"The image was {' and '.join(parts)}"


def _estimate(settings: Mapping[str, Any]) -> tuple[str, Sequence[str]]:
    """Return a sentence about mode and sampler, and the works that it cites."""
    name, samples = settings.get("Name"), settings.get("Samples", 1)
    sampler = settings.get("Sampler")
    if sampler is None:
        return f"The result estimates the posterior mean (mode {name}; no sampling).", ()
    known, cited = SAMPLERS.get(str(sampler), (f"the sampler {sampler}", ()))
    steps = settings.get("StepsNominal") or settings.get("Steps")
    how = f"drawn with {known} in {steps} steps (mode {name}"
    seed = settings.get("Seed")
    how += ")" if seed is None else f", seed {seed})"
    if isinstance(samples, int) and samples > 1:
        spread = settings.get("Spread", 1)
        scaled = "" if spread == 1 else f", multiplied by {spread:g}"
        return (
            f"The result is the mean of {samples} posterior samples {how}; the uncertainty map is"
            f" their standard deviation{scaled}.",
            cited,
        )
    detail = settings.get("Detail", 1)
    kept = [detail] if isinstance(detail, int | float) else list(detail or [1])
    if any(share != 1 for share in kept):
        shares = ", ".join(f"{share:g}" for share in kept)
        return (
            f"The result is one posterior sample {how}, whose bands were moved towards the"
            f" posterior mean: they keep a share of {shares} of their difference from it, finest"
            " band first.",
            cited,
        )
    return f"The result is one posterior sample {how}.", cited


def _measurement(sidecar: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    found = []
    if kernel := sidecar.get("Kernel"):
        words = _KERNELS.get(str(kernel))
        what = f"{words} (kernel {kernel})" if words else f"the kernel {kernel}"
        found.append(f"The measurement was modelled as {what}.")
    if sidecar.get("CroppedToAcquired"):
        rows, columns = sidecar["AcquiredMatrix"]
        found.append(f"Its k-space was first cropped to the acquired matrix of {rows} x {columns}.")
    noise, origin = settings.get("Noise"), str(sidecar.get("NoiseOrigin", ""))
    if isinstance(noise, int | float) and origin != "not used":
        level = f"{100 * noise:.2g} % of the 99.9th percentile of its magnitude"
        known = {"given": "given", "": "known"}.get(origin, origin)
        found.append(
            "The data were taken as free of noise."
            if noise == 0
            else f"The standard deviation of the noise was {level} ({known})."
        )
    if sidecar.get("FieldOfView"):
        found.append(
            "As the field of view cuts the anatomy, it was extended smoothly for the restoration"
            " and cropped afterwards."
        )
    return found


def _quality(sidecar: Mapping[str, Any]) -> list[str]:
    found = []
    residual = sidecar.get("ResidualStored", sidecar.get("Residual"))
    if isinstance(residual, int | float):
        found.append(
            f"The result reproduces the measured data to a relative residual of {residual:.1e}"
            " (largest of all slices)."
            if "ThickSlices" not in sidecar
            else f"The result reproduces the measured slices to a relative residual of"
            f" {residual:.1e}."
        )
    score = sidecar.get("DomainScore")
    if isinstance(score, int | float):
        side = "above" if score > 1 else "within"
        found.append(f"The out-of-domain score was {score:.2f}, {side} the limit of 1.")
    return found


def _versions(sidecar: Mapping[str, Any]) -> list[str]:
    software = sidecar.get("Software")
    listed = [one for one in software if _mapping(one)] if isinstance(software, list) else []
    return [
        f"version {one.get('Version')}"
        if one.get("Name") == "mrcascade"
        else f"{one.get('Name')} {one.get('Version')}"
        for one in listed
    ]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "an unknown number of"
