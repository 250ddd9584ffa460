"""What the jobs on files share: inputs, their operators and seeds, names of outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mrcascade.arrays.factors import enlarged, factor_label
from mrcascade.errors import MRCascadeError
from mrcascade.io import (
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

IMAGES = ("result", "sample")  # outputs that are images, and not maps of something else
# What follows the key of an output that is the phase of another, or its JSON file.
PHASE, SIDECAR = "_phase", "_sidecar"


def input_seed(seed: int, digest: str) -> int:
    """The seed of an input's random numbers, from a run's and from the SHA-256 of its bytes.

    With one seed for all, two scans would get the same noise, and their samples details that look
    alike: reproducible from visit to visit, although nobody measured them.
    """
    return image_seed(seed, int(digest[:16], 16))


def timing_facts(image: Image | Source, target: Path) -> dict[str, float]:
    """`RepetitionTime` as BIDS has it, the time from one volume to the next (s), for a time series
    whose result has another format and so loses its header."""
    same = format_to_write(target).name == image.format
    seconds = None if same else image.volume_seconds
    return {} if seconds is None else {"RepetitionTime": seconds}


def operator_for(shape: Sequence[int], kernel: str, factor: Factors) -> SeparableOperator:
    """The measurement operator whose output has ``shape``; its input is `enlarged`."""
    return SeparableOperator.from_kernel(kernel, factor, enlarged(shape, factor))


@dataclass(frozen=True)
class Item:
    """An input of a job; its results go into ``folder``, relative to the output folder.

    dataset: the BIDS dataset that it belongs to; its results then belong to a derivative one.
    """

    image: ImageFile
    folder: Path = Path()
    dataset: Dataset | None = None

    def __str__(self) -> str:
        return str(self.image)

    @property
    def name(self) -> str:
        """What tells it from the other inputs of a job: name, and folder where it has one."""
        return (self.folder / self.image.name).as_posix()


def sr_targets(item: Item, output: Path, job: SuperResolution) -> dict[str, Path]:
    """The files that ``sr`` makes of an input, by what they hold; the sidecar comes last.

    ``output`` is a folder, or the name of the result, beside which the others lie.

    Of a pair, "result" and "sample" are magnitudes; their phases and the JSON files of these are
    named after them (`PHASE`, `SIDECAR`).

    In a BIDS derivative the preview lies with the subject's figures, and every image has a JSON
    file: ``sample_sidecar`` and ``std_sidecar`` are those of the others.

    Raises MRCascadeError where its name has no format, or ``job.format`` cannot be made of it.
    """
    image = item.image
    named = image if job.deidentify is None else image.under_pseudonym(job.deidentify)
    folder = output if job.deidentify else output / item.folder  # whose name may be a patient's
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
    targets |= {"preview": beside(result, "", ".png"), "sidecar": beside(result, "", ".json")}
    return (_phases(targets) | targets) if item.image.paired else targets


def _descriptions_and_endings(item: Item, job: SuperResolution) -> dict[str, tuple[str, str]]:
    label = f"sr{factor_label(job.factor)}"
    ending = result_ending(item.image, job.format)
    others = ("sample", "std") if job.samples > 1 else ()
    kinds = {"result": (label, ending)} | {key: (label + key, ending) for key in others}
    kinds["preview"] = (label, ".png")
    if item.dataset:
        kinds |= {key + SIDECAR: (label + key, ".json") for key in others}
    return kinds | {"sidecar": (label, ".json")}


def _phases(targets: dict[str, Path]) -> dict[str, Path]:
    """The phases of the images, each with a JSON file that names its unit."""
    phases = {key + PHASE: with_part(targets[key], "phase") for key in IMAGES if key in targets}
    units = {key + SIDECAR: beside(path, "", ".json") for key, path in phases.items()}
    return phases | units
