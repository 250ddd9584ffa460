"""Parts that the jobs on files share: inputs, operators, seeds, names of outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mrcascade.arrays.factors import enlarged
from mrcascade.errors import MRCascadeError
from mrcascade.io import (
    PREVIEW_ENDING,
    Dataset,
    Image,
    ImageFile,
    Source,
    beside,
    derived_name,
    format_to_write,
    named_output,
    result_ending,
    with_part,
)
from mrcascade.jobs.request import Factors, SuperResolution
from mrcascade.operators import SeparableOperator
from mrcascade.sampling import image_seed

IMAGES = ("result", "sample")  # outputs that are images, unlike the standard deviation map
# Endings of the keys of an image's phase and of its JSON file.
PHASE, SIDECAR = "_phase", "_sidecar"


def input_seed(seed: int, digest: str) -> int:
    """Return the seed of an input, from the run's seed and the SHA-256 of the input's bytes.

    With one seed for all inputs, two scans of a patient would get the same noise. Their samples
    would then share invented details, which would look reproducible from visit to visit.
    """
    return image_seed(seed, int(digest[:16], 16))


def timing_facts(image: Image | Source, target: Path) -> dict[str, float]:
    """Return BIDS's `RepetitionTime` (s between volumes) of a time series, else nothing.

    Only results of another format need it, as they lose the header of the input.
    """
    same = format_to_write(target).name == image.format
    seconds = None if same else image.volume_seconds
    return {} if seconds is None else {"RepetitionTime": seconds}


def operator_for(shape: Sequence[int], kernel: str, factor: Factors) -> SeparableOperator:
    """Return the operator with output shape (h, w); its input is larger by the factor."""
    result = enlarged(shape, factor) if max(factor) > 1 else (shape[0], shape[1])
    return SeparableOperator.from_kernel(kernel, factor, result)


@dataclass(frozen=True)
class Item:
    """An input of a job.

    Attributes:
        image: the image.
        folder: folder of its results, relative to the output folder.
        dataset: its BIDS dataset, if any; its results then form a BIDS derivative.
        others: other stacks that are combined with the image.
    """

    image: ImageFile
    folder: Path = Path()
    dataset: Dataset | None = None
    others: tuple[ImageFile, ...] = ()

    def __str__(self) -> str:
        return str(self.image)

    @property
    def names(self) -> list[str]:
        """Names of the image and of the others."""
        return [str(image) for image in (self.image, *self.others)]

    @property
    def paths(self) -> list[Path]:
        """Paths of all files."""
        return [path for image in (self.image, *self.others) for path in image.paths]

    @property
    def name(self) -> str:
        """Name that is unique among the inputs of a job: folder, if any, and file name."""
        return (self.folder / self.image.name).as_posix()


def sr_targets(item: Item, output: Path, job: SuperResolution) -> dict[str, Path]:
    """Return the files that ``sr`` makes of an input, by their content; the sidecar comes last.

    For a magnitude and phase pair, "result" and "sample" are the magnitudes. The keys of their
    phases and of the phases' JSON files end in `PHASE` and `SIDECAR`. In a BIDS derivative every
    image has a JSON file ("sample_sidecar", "std_sidecar"), and the preview lies in the subject's
    folder of figures.

    Args:
        item: the input.
        output: a folder, or the name of the result; other files lie beside the result.
        job: the job, which decides format and number of samples.

    Raises:
        MRCascadeError: the name has no known format, or the input has no ``job.format``.
    """
    image = item.image
    named = image if job.deidentify is None else image.under_pseudonym(job.deidentify)
    folder = output if job.deidentify else output / item.folder  # folders may name patients
    kinds = _descriptions_and_endings(item, job)
    if (ending := named_output(image, output, job.format)) is not None:
        return _beside(item, output, ending, kinds)
    targets = {k: folder / derived_name(named, d, e) for k, (d, e) in kinds.items()}
    if image.paired:
        targets = _phases(targets) | targets
    if item.dataset:
        subject = output / item.folder.parts[0]
        targets["preview"] = subject / "figures" / targets["preview"].name
    return targets


def _beside(
    item: Item, result: Path, ending: str, kinds: dict[str, tuple[str, str]]
) -> dict[str, Path]:
    if item.dataset:
        raise MRCascadeError(
            f"{result}: the results of a BIDS dataset form a dataset; give the name of a folder"
        )
    targets = {"result": result}
    for key in kinds:
        if key in ("sample", "std"):
            targets[key] = beside(result, key, ending)
    targets |= {"preview": beside(result, "", PREVIEW_ENDING)}
    targets |= {"sidecar": beside(result, "", ".json")}
    return (_phases(targets) | targets) if item.image.paired else targets


def _descriptions_and_endings(item: Item, job: SuperResolution) -> dict[str, tuple[str, str]]:
    label = job.label
    ending = result_ending(item.image, job.format)
    others = ("sample", "std") if job.samples > 1 else ()
    kinds = {"result": (label, ending)} | {key: (label + key, ending) for key in others}
    kinds["preview"] = (label, PREVIEW_ENDING)
    if item.dataset:
        kinds |= {key + SIDECAR: (label + key, ".json") for key in others}
    return kinds | {"sidecar": (label, ".json")}


def _phases(targets: dict[str, Path]) -> dict[str, Path]:
    """Return the phases of the images, each with a JSON file that names its unit."""
    phases = {key + PHASE: with_part(targets[key], "phase") for key in IMAGES if key in targets}
    units = {key + SIDECAR: beside(path, "", ".json") for key, path in phases.items()}
    return phases | units
