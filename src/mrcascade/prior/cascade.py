"""Scale-cascaded prior, with one denoiser per Laplacian band, and its file format.

A prior is a folder with ``prior.json`` and one ``level<i>.safetensors`` per level (float16
weights). The JSON holds network shapes, statistics, kernel, provenance and the checksums of the
weight files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mrcascade.devices.precision import resolve_precision
from mrcascade.errors import MRCascadeError
from mrcascade.networks import fold
from mrcascade.networks.compiled import Compiler
from mrcascade.operators import KERNELS
from mrcascade.prior.denoiser import LevelNetworks
from mrcascade.prior.domain import DomainReference
from mrcascade.prior.format import (
    PRIOR_FILE,
    SEEN,
    SLICES,
    Limits,
    cascade_shape,
    minimum_size,
    number_of,
    prior_folder,
    read_document,
    slices_of,
    whole_entry,
)
from mrcascade.prior.hub import Repository
from mrcascade.prior.level import LevelPrior, LevelSpec, WeightFile
from mrcascade.prior.weights import load_weights
from mrcascade.prior.writing import copy_prior, prior_document
from mrcascade.storage.atomic import check_target
from mrcascade.storage.digest import file_sha256

_LONGEST_NAME = 255

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
        domain: distribution of features over its images; None if it is not known.
        digest: SHA-256 of the ``prior.json`` that it was read from.
        folder: folder that it was read from; None where it was not.
        slices: regression network for thick slices, from its folder ``slices``; None without one.
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
    domain: DomainReference | None = None
    digest: str = ""
    folder: Path | None = None
    slices: CascadePrior | None = None
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

    @property
    def identity(self) -> str:
        """Digests of the prior and of its ``slices``, on which volumes depend."""
        return " + ".join(prior.digest for prior in (self, self.slices) if prior is not None)

    def tuned(self, mode: str) -> dict[str, Any]:
        """Return the settings in ``sampling`` for a mode."""
        return dict(self.sampling.get(mode, {}))

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
            domain=other.domain,
            digest=f"{self.digest} + {other.digest}",
            slices=None,
        )

    def to(self, device: str | torch.device) -> CascadePrior:
        """Move the networks to a device, in place."""
        for level in self.levels:
            level.networks.to(device)
        if self.slices is not None:
            self.slices.to(device)
        return self

    def compile(self, compiler: Compiler | None = None) -> CascadePrior:
        """Compile the U-Nets, in place, and return the prior.

        This pays off if chains evaluate images of one size many times; `CompiledForward` lists the
        exceptions. Regression branches are not compiled, as they run once per image, at many sizes.
        """
        self.compiler = compiler or Compiler()
        for number, level in enumerate(self.levels, start=1):
            if level.networks.unet is not None:
                self.compiler.compile(level.networks.unet, f"the U-Net of level {number}")
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
        *,
        download: bool = False,
    ) -> CascadePrior:
        """Load a bundled prior by name, a prior by its folder, or one of the hub.

        Args:
            name_or_folder: the first that exists of a bundled prior's name, a folder, and
                ``"org/repo[/folder][@revision]"`` in the cache of the Hugging Face hub.
            device: device of the networks.
            precision: "float32", "bfloat16" or "auto" (bfloat16 where the processor has
                instructions for it), for the networks' convolutions; data steps stay in float32.
            download: whether a repository of the hub is fetched first. Otherwise nothing goes over
                the network.

        Raises:
            MRCascadeError: another precision, or the prior is missing, damaged, not in the cache or
                cannot be downloaded.
        """
        precision = resolve_precision(precision, device)
        prior, weights = read_prior(name_or_folder, download)
        for level, state in zip(prior.levels, weights, strict=True):
            level.networks.load_state_dict(state, assign=True)
            fold(level.networks, getattr(torch, precision))
            level.precision = precision
        if (beside := slices_of(Path(prior.folder or ""), prior.channels)) is not None:
            prior.slices = cls.from_pretrained(beside, device, precision)
        return prior.to(device)

    def save_pretrained(
        self, folder: str | Path, *, license: str | None = None, overwrite: bool = False
    ) -> Path:
        """Write the prior to a folder that ``from_pretrained`` reads, and return the folder.

        Weights and ``slices`` are copied; so are an unchanged ``prior.json``, ``facts.json`` and
        the card. Else a plain card is written. It gets the hub's metadata unless it has them.

        Args:
            folder: the folder, which is made.
            license: identifier of the licence in the card, such as ``"cc-by-4.0"``.
            overwrite: whether existing files may be replaced.

        Raises:
            MRCascadeError: files exist, the folder cannot be written, or the prior was not read
                from files or these have changed since.

        Example:
            >>> from tempfile import TemporaryDirectory
            >>> from mrcascade import CascadePrior
            >>> prior = CascadePrior.from_pretrained("mr-small")
            >>> with TemporaryDirectory() as place:
            ...     saved = prior.save_pretrained(f"{place}/mine", license="apache-2.0")
            ...     CascadePrior.from_pretrained(saved).digest == prior.digest
            True
        """
        if self.slices is not None:
            check_target(Path(folder) / PRIOR_FILE, overwrite)
            self.slices.save_pretrained(Path(folder) / SLICES, license=license, overwrite=overwrite)
        document, source = _document(self), self.folder
        same = source is not None and _document(_described(source)) == document
        copy_prior(
            Path(folder),
            document,
            [_stored(self, level) for level in self.levels],
            unchanged=source if same else None,
            license=license,
            overwrite=overwrite,
        )
        return Path(folder)

    def push_to_hub(
        self,
        repository: str,
        *,
        license: str | None = None,
        private: bool | None = None,
        message: str = "Upload a prior of mrcascade",
    ) -> str:
        """Upload the files of ``save_pretrained`` to the Hugging Face hub.

        ``prior.json`` names the training images and is uploaded, too.

        Args:
            repository: ``"org/repo[/folder][@branch]"``; repository and branch are made if missing.
            license: identifier of the licence in the card.
            private: whether a new repository is private; None for the account's default.
            message: title of the commit.

        Returns:
            Name of the uploaded revision, as ``from_pretrained`` takes it.

        Raises:
            MRCascadeError: not a repository's name, huggingface_hub is not installed, the hub
                cannot be reached or refuses, or as for ``save_pretrained``.
        """
        target = Repository.of_name(repository)
        if target is None:
            raise MRCascadeError(
                f"{repository!r} is not the name of a repository; give ORG/REPO or ORG/REPO@BRANCH"
            )
        with TemporaryDirectory() as place:
            saved = self.save_pretrained(Path(place) / "prior", license=license)
            return target.upload(saved, message, private)


def read_prior(
    name_or_folder: str | Path, download: bool = False
) -> tuple[CascadePrior, list[dict[str, Tensor]]]:
    """Return a prior whose networks have no weights yet, and the trained weights of each level.

    Arguments and errors are those of ``CascadePrior.from_pretrained``.
    """
    prior = _described(prior_folder(name_or_folder, download=download))
    weights = [
        load_weights(_stored(prior, level), level.networks.state_dict()) for level in prior.levels
    ]
    return prior, weights


def _described(folder: Path) -> CascadePrior:
    """Return the prior that a folder's JSON describes, without weights."""
    document = read_document(folder)
    try:
        prior = _from_document(document, folder)
    except MRCascadeError:
        raise
    except _MALFORMED as error:
        reason = " ".join(repr(error).split())[:200]
        raise MRCascadeError(
            f"{folder / PRIOR_FILE}: not a valid prior ({reason}); fetch it again"
        ) from error
    prior.digest = file_sha256(folder / PRIOR_FILE)
    return prior


def _document(prior: CascadePrior) -> dict[str, Any]:
    """Return the content of the ``prior.json`` of a prior whose weights are files."""
    return prior_document(
        name=prior.name,
        kernel=prior.kernel,
        channels=prior.channels,
        step=prior.step,
        maximum_factor=prior.maximum_factor,
        levels=[(level.spec, _stored(prior, level).sha256) for level in prior.levels],
        spectrum=prior.spectrum,
        provenance=prior.provenance,
        sampling=prior.sampling,
        domain=prior.domain,
    )


def _stored(prior: CascadePrior, level: LevelPrior) -> WeightFile:
    if level.stored is None:
        raise MRCascadeError(
            f"prior {prior.name!r}: not saved, as its weights were not read from files;"
            " mrcascade.prior.writing.write_prior writes those of a training"
        )
    return level.stored


def _from_document(document: Mapping[str, Any], folder: Path) -> CascadePrior:
    """Return the prior that a document in ``folder`` describes, without weights."""
    step, maximum_factor, count = cascade_shape(document)
    channels = whole_entry(document, "channels", 1, 2)
    if not isinstance(document["name"], str) or not 1 <= len(document["name"]) <= _LONGEST_NAME:
        raise ValueError(f"the name must be a text of 1 to {_LONGEST_NAME} characters")
    if not all(isinstance(document[key], dict) for key in ("provenance", "sampling")):
        raise ValueError("provenance and sampling must be objects")
    levels = []
    for entry in document["levels"]:
        spec, file = LevelSpec.of_entry(entry), str(entry["file"])
        if Path(file).name != file or len(file) > _LONGEST_NAME:
            raise ValueError("the weights of a level must be a file beside it")
        stored = WeightFile(folder / file, str(entry["sha256"]))
        with torch.device("meta"):
            levels.append(LevelPrior(spec, LevelNetworks(spec.networks, channels), stored=stored))
    if document["kernel"] not in KERNELS:
        raise ValueError(f"unknown kernel {document['kernel']!r}")
    if not isinstance(document["spectrum"], list):
        raise ValueError("the spectrum must be a list")
    spectrum = [number_of(v) for v in document["spectrum"]]
    if [level.conditional for level in levels] != [True] * (count - 1) + [False]:
        raise ValueError("every level but the coarsest must be conditional")
    if not spectrum or not np.isfinite(spectrum).all() or min(spectrum) < 0:
        raise ValueError("the spectrum must be finite numbers that are not negative")
    return CascadePrior(
        name=document["name"],
        kernel=document["kernel"],
        channels=channels,
        levels=levels,
        spectrum=spectrum,
        step=step,
        maximum_factor=maximum_factor,
        provenance=dict(document["provenance"]),
        sampling=dict(document["sampling"]),
        domain=DomainReference.of_entry(document.get("domain"), levels[-1].networks.unet),
        folder=folder,
    )
