"""Scale-cascaded prior, with one denoiser per Laplacian band, and its file format.

A prior is a folder with ``prior.json`` and one ``level<i>.safetensors`` per level (float16
weights). The JSON holds network shapes, statistics, kernel, provenance and the checksums of the
weight files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mrcascade.devices.precision import resolve_precision
from mrcascade.errors import MRCascadeError
from mrcascade.messages.printable import printable, shortened
from mrcascade.networks import LevelConfig, MeanConfig, UNetConfig, fold
from mrcascade.networks.compiled import Compiler
from mrcascade.operators import KERNELS
from mrcascade.prior.denoiser import LevelNetworks
from mrcascade.prior.format import (
    FORMAT,
    PRIOR_FILE,
    SEEN,
    Limits,
    cascade_shape,
    minimum_size,
    prior_folder,
    read_document,
    whole_entry,
)
from mrcascade.prior.level import LevelPrior, LevelSpec, LevelStatistics
from mrcascade.recipes.modes import TUNED_AS
from mrcascade.recipes.recipe import RECIPES
from mrcascade.storage.atomic import atomic_outputs, make_folder
from mrcascade.storage.digest import file_sha256

_LONGEST_NAME = 255
# Range of statistics and noise levels, whose products and squares must fit float32.
_SMALLEST, _LARGEST = 1e-8, 1e8
# Largest bytes per weight in a weight file, and largest JSON header of the file.
_LARGEST_WEIGHT, _LARGEST_HEADER = 8, 2**24

# Exceptions that a malformed prior.json raises.
_MALFORMED = (AttributeError, LookupError, TypeError, ValueError, RuntimeError, ArithmeticError)


@dataclass
class CascadePrior:
    """Scale-cascaded diffusion prior (Thaker et al., section 3.2).

    Attributes:
        levels: the levels, finest first.
        spectrum: radial power spectral density of the training images, in intensity^2 per
            (cycle/pixel)^2, in equal bins of the frequency radius from 0 to sqrt(1/2).
        step: factor between the grids of neighbouring levels.
        maximum_factor: largest factor per axis that the training covers.
        digest: SHA-256 of the ``prior.json`` that it was read from.
        compiler: compiler of its U-Nets; None if they are not compiled.

    Example:
        >>> from mrcascade import CascadePrior
        >>> prior = CascadePrior.from_pretrained("mr-small")
        >>> prior
        CascadePrior('mr-small', magnitude, kernel 'fourier', 3 levels, factors up to 4, on cpu)
        >>> prior.minimum_size
        32
    """

    name: str
    kernel: str
    channels: int
    levels: list[LevelPrior]
    spectrum: list[float]
    step: int = 2
    maximum_factor: int = 4
    provenance: dict[str, Any] = field(default_factory=dict)
    sampling: dict[str, Any] = field(default_factory=dict)
    digest: str = ""
    compiler: Compiler | None = None

    def __repr__(self) -> str:
        kind = "complex" if self.channels == 2 else "magnitude"
        return (
            f"CascadePrior({self.name!r}, {kind}, kernel {self.kernel!r},"
            f" {len(self.levels)} levels, factors up to {self.maximum_factor:g}, on {self.device})"
        )

    @property
    def minimum_size(self) -> int:
        """Smallest output side that every level can process."""
        return minimum_size(self.step, len(self.levels))

    @property
    def limits(self) -> Limits:
        """Sizes and factors that the prior can restore."""
        return Limits(self.name, self.minimum_size, self.maximum_factor)

    @property
    def generative(self) -> bool:
        """Whether every level has a denoiser, so that the prior can be sampled."""
        return all(level.spec.networks.unet is not None for level in self.levels)

    def power_density(self, row_frequency: np.ndarray, col_frequency: np.ndarray) -> np.ndarray:
        """Return the spectral density at frequencies in cycles per full-resolution pixel."""
        radius = np.hypot(row_frequency, col_frequency)
        bins = len(self.spectrum)
        centres = (np.arange(bins) + 0.5) * np.sqrt(0.5) / bins
        return np.exp(np.interp(radius, centres, np.log(np.maximum(self.spectrum, 1e-30))))

    def tuned(self, mode: str) -> dict[str, Any]:
        """Return the settings in ``sampling`` for a mode, or those of its stand-in (``TUNED_AS``).

        The number of steps, and options that the mode does not have, are not taken from a stand-in.
        """
        if mode in self.sampling or mode not in TUNED_AS:
            return dict(self.sampling.get(mode, {}))
        own = RECIPES[mode].tunable
        return {k: v for k, v in self.tuned(TUNED_AS[mode]).items() if k in own}

    def with_coarsest(self, other: CascadePrior) -> CascadePrior:
        """Return the two-level cascade of this prior's finest level and ``other``.

        ``other`` is a single-level prior of images that are coarser by one step (``reduction`` in
        training). Its sampler settings take precedence over this prior's. Raises MRCascadeError if
        the two do not fit together.
        """
        if len(other.levels) != 1 or (other.kernel, other.channels) != (self.kernel, self.channels):
            raise MRCascadeError(
                f"prior {other.name!r} cannot be the coarse level below prior {self.name!r}: it"
                " needs one level, of the same kernel and channels"
            )
        seen = {
            key: sorted({text for prior in (self, other) for text in prior.provenance.get(key, ())})
            for key in SEEN
        }
        ends = {"sigma_start": other.levels[0].spec.sigma_max}
        ends["sigma_min"] = other.levels[0].spec.sigma_min

        def settings(mode: str) -> dict[str, Any]:
            # Schedules that were tuned for three levels do not suit two.
            own = {
                key: value
                for key, value in self.tuned(mode).items()
                if key not in ("rho", "step_shares")
            }
            fitted = {k: [own[k][0], end] for k, end in ends.items() if own.get(k)}
            return {**own, **fitted, **other.tuned(mode)}

        return replace(
            self,
            name=f"{self.name}+{other.name}",
            levels=[self.levels[0], *other.levels],
            provenance=seen,
            sampling={
                mode: settings(mode) for mode in self.sampling.keys() | other.sampling.keys()
            },
            digest=f"{self.digest} + {other.digest}",
        )

    def to(self, device: str | torch.device) -> CascadePrior:
        """Move the networks to a device, in place."""
        for level in self.levels:
            level.networks.to(device)
        return self

    def compile(self, compiler: Compiler | None = None) -> CascadePrior:
        """Compile the U-Nets, in place, and return the prior.

        This pays off if chains evaluate images of one size many times; `CompiledForward` lists the
        exceptions. Regression branches are not compiled, as they run once per image, at many sizes.
        """
        self.compiler = compiler or Compiler()
        for level in self.levels:
            if level.networks.unet is not None:
                self.compiler.compile(level.networks.unet)
        return self

    @property
    def device(self) -> torch.device:
        """Device of the networks."""
        return next(self.levels[0].networks.parameters()).device

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path,
        device: str | torch.device = "cpu",
        precision: str = "float32",
    ) -> CascadePrior:
        """Load a bundled prior by name, or any prior by its folder.

        ``precision`` is "float32", "bfloat16" or "auto" (bfloat16 where the processor has
        instructions for it). It holds for the networks' convolutions; data steps stay in float32.
        Raises MRCascadeError for another precision, and for a missing or damaged prior.
        """
        precision = resolve_precision(precision, device)
        prior, weights = read_prior(name_or_folder)
        for level, state in zip(prior.levels, weights, strict=True):
            level.networks.load_state_dict(state, assign=True)
            fold(level.networks, getattr(torch, precision))
            level.precision = precision
        return prior.to(device)


def read_prior(name_or_folder: str | Path) -> tuple[CascadePrior, list[dict[str, Tensor]]]:
    """Return a prior whose networks have no weights yet, and the trained weights of each level.

    Errors are those of ``CascadePrior.from_pretrained``.
    """
    folder = prior_folder(name_or_folder)
    document = read_document(folder)
    try:
        prior, files = _from_document(document)
    except MRCascadeError:
        raise
    except _MALFORMED as error:
        reason = " ".join(repr(error).split())[:200]
        raise MRCascadeError(
            f"{folder / PRIOR_FILE}: not a valid prior ({reason}); fetch it again"
        ) from error
    weights = [
        _load_weights(folder / file, digest, level.networks.state_dict())
        for level, (file, digest) in zip(prior.levels, files, strict=True)
    ]
    prior.digest = file_sha256(folder / PRIOR_FILE)
    return prior, weights


def _from_document(document: Mapping[str, Any]) -> tuple[CascadePrior, list[tuple[str, str]]]:
    """Return a document's prior, without weights, and name and checksum of each weight file."""
    step, maximum_factor, count = cascade_shape(document)
    channels = whole_entry(document, "channels", 1, 2)
    if not isinstance(document["name"], str) or not 1 <= len(document["name"]) <= _LONGEST_NAME:
        raise ValueError(f"the name must be a text of 1 to {_LONGEST_NAME} characters")
    if not all(isinstance(document[key], dict) for key in ("provenance", "sampling")):
        raise ValueError("provenance and sampling must be objects")
    levels = []
    for entry in document["levels"]:
        spec = _level_spec(entry)
        with torch.device("meta"):
            levels.append(LevelPrior(spec, LevelNetworks(spec.networks, channels)))
    if document["kernel"] not in KERNELS:
        raise ValueError(f"unknown kernel {document['kernel']!r}")
    if not isinstance(document["spectrum"], list):
        raise ValueError("the spectrum must be a list")
    spectrum = [float(v) for v in document["spectrum"]]
    if [level.conditional for level in levels] != [True] * (count - 1) + [False]:
        raise ValueError("every level but the coarsest must be conditional")
    if not spectrum or not np.isfinite(spectrum).all() or min(spectrum) < 0:
        raise ValueError("the spectrum must be finite numbers that are not negative")
    files = [(str(entry["file"]), str(entry["sha256"])) for entry in document["levels"]]
    for file, _ in files:
        if Path(file).name != file or len(file) > _LONGEST_NAME:
            raise ValueError("the weights of a level must be a file beside it")
    prior = CascadePrior(
        name=document["name"],
        kernel=document["kernel"],
        channels=channels,
        levels=levels,
        spectrum=spectrum,
        step=step,
        maximum_factor=maximum_factor,
        provenance=dict(document["provenance"]),
        sampling=dict(document["sampling"]),
    )
    return prior, files


def write_prior(
    folder: Path,
    *,
    name: str,
    kernel: str,
    channels: int,
    step: int = 2,
    maximum_factor: int = 4,
    levels: Sequence[tuple[LevelSpec, Mapping[str, Tensor]]],
    spectrum: Sequence[float],
    provenance: Mapping[str, Any],
    sampling: Mapping[str, Any],
) -> None:
    """Write ``prior.json`` and the float16 weights of each level (finest first) to ``folder``.

    All files appear together and replace an existing prior; the JSON comes last. Raises
    MRCascadeError for weights that float16 cannot represent.
    """
    from safetensors.torch import save

    make_folder(folder)
    names = [f"level{index}.safetensors" for index in range(1, len(levels) + 1)]
    targets = [folder / file for file in (*names, PRIOR_FILE)]
    with atomic_outputs(targets, overwrite=True) as (*weights, described):
        entries = []
        for file, path, (spec, state) in zip(names, weights, levels, strict=True):
            half = _stored(spec, channels, state)
            if not all(v.isfinite().all() for v in half.values()):
                raise MRCascadeError(
                    f"{folder / file}: not written, as its weights are NaN or beyond float16; the"
                    " training diverged; train anew, with a lower learning rate"
                )
            path.write_bytes(save({k: v.contiguous() for k, v in half.items()}))
            entries.append({"file": file, "sha256": file_sha256(path), **asdict(spec)})
        document = {
            "format": FORMAT,
            "name": name,
            "kernel": kernel,
            "channels": channels,
            "step": step,
            "maximum_factor": maximum_factor,
            "sampling": dict(sampling),
            "levels": entries,
            "spectrum": [float(f"{v:.5g}") for v in spectrum],
            "provenance": dict(provenance),
        }
        described.write_text(json.dumps(document, indent=1) + "\n")


def _stored(spec: LevelSpec, channels: int, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return trained weights in float16, and constants in float32.

    Constants are the frequencies and phases of Fourier features. Phases of several turns would
    lose too many digits in float16.
    """
    with torch.device("meta"):
        constants = {name for name, _ in LevelNetworks(spec.networks, channels).named_buffers()}
    return {k: v if k in constants else v.half() for k, v in state.items()}


def _level_spec(entry: Mapping[str, Any]) -> LevelSpec:
    unet, mean = entry["networks"]["unet"], entry["networks"]["mean"]
    if unet is not None:
        unet = {**unet, **{key: tuple(unet[key]) for key in ("multipliers", "attention")}}
    networks = LevelConfig(
        None if unet is None else UNetConfig(**unet),
        None if mean is None else MeanConfig(**mean),
        **{key: entry["networks"].get(key, False) for key in ("data", "demodulated")},
    )
    values = {key: float(value) for key, value in entry["statistics"].items()}
    statistics = LevelStatistics(**values)
    if (
        not all(-_LARGEST <= value <= _LARGEST for value in values.values())
        or min(statistics.std, statistics.condition_std) < _SMALLEST
    ):
        raise ValueError(f"statistics out of range: {values}")
    spec = LevelSpec(
        networks=networks,
        statistics=statistics,
        sigma_min=float(entry["sigma_min"]),
        sigma_max=float(entry["sigma_max"]),
        condition_error=float(entry["condition_error"]),
        training=dict(entry["training"]),
    )
    if not (
        _SMALLEST <= spec.sigma_min < spec.sigma_max <= _LARGEST and 0 <= spec.condition_error < 1
    ):
        raise ValueError("noise levels or condition error out of range")
    return spec


def _load_weights(path: Path, digest: str, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not os.path.isfile(path):
        raise MRCascadeError(f"{path}: weight file is missing; fetch the prior again")
    most = _LARGEST_WEIGHT * sum(v.numel() for v in expected.values()) + _LARGEST_HEADER
    if path.stat().st_size > most:
        raise MRCascadeError(
            f"{path}: larger than the networks named in {PRIOR_FILE}; fetch the prior again"
        )
    if file_sha256(path) != digest:
        raise MRCascadeError(
            f"{path}: checksum differs from {PRIOR_FILE} (cut short or replaced);"
            " fetch the prior again"
        )
    try:
        state = load_file(path)
    except (SafetensorError, ValueError) as error:
        raise MRCascadeError(
            f"{path}: not a safetensors file ({shortened(printable(str(error)))});"
            " fetch the prior again"
        ) from error
    if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in expected.items()}:
        raise MRCascadeError(
            f"{path}: weights do not fit the networks named in {PRIOR_FILE}; fetch the prior again"
        )
    if not all(v.is_floating_point() for v in state.values()):
        raise MRCascadeError(f"{path}: weights are not real numbers; fetch the prior again")
    state = {k: v.float() for k, v in state.items()}
    if not all(v.isfinite().all() for v in state.values()):
        raise MRCascadeError(f"{path}: weights are NaN or infinite; fetch the prior again")
    return state
