"""Lines of ``mrcascade info`` about a fastMRI file, beyond those for every image."""

from pathlib import Path

from mrcascade.errors import MRCascadeError
from mrcascade.io.fastmri.averages import open_averages
from mrcascade.io.fastmri.file import ATTRIBUTES, FastMRI, open_file
from mrcascade.io.fastmri.pixels import check_usable


def describe_fastmri(path: Path) -> tuple[list[str], bool]:
    """Return lines about the content of a file, and whether it gives an image.

    Raises MRCascadeError as `open_file` does.
    """
    with open_file(path) as file:
        lines = [*_attributes(file), *_kspace(file), _maps(file), _reconstruction(file)]
        try:
            check_usable(file, complex_valued=False)
        except MRCascadeError as error:
            return [*lines, str(error)], False
        return lines, True


def _attributes(file: FastMRI) -> list[str]:
    there = [(name, file.attributes[name]) for name in ATTRIBUTES if name in file.attributes]
    said = [f"{name} {v:.6g}" if isinstance(v, float) else f"{name} {v}" for name, v in there]
    return [f"attributes: {', '.join(said)}"] if said else []


def _kspace(file: FastMRI) -> list[str]:
    if file.kspace is None:
        return ["k-space: none"]
    many = f"{file.averages} averages, " * (file.averages > 1)
    size = f"{file.kspace_matrix[0]} x {file.kspace_matrix[1]}"
    coils = f"{file.coils} coil{'s' * (file.coils != 1)}"
    line = f"k-space: {many}{file.slices} slices, {coils}, {size}"
    if file.averages > 1:
        return [f"{line}, each undersampled", _averages(file)]
    if file.obstacle:
        return [f"{line}, {file.obstacle}"]
    return [
        f"{line}, fully sampled",
        f"its images are cropped to {file.matrix[0]} x {file.matrix[1]}",
    ]


def _averages(file: FastMRI) -> str:
    """Return a line about the image that a complex prior reads."""
    try:
        open_averages(file)
    except MRCascadeError as error:
        return f"no complex image: {error}"
    rows, columns = file.matrix
    return f"complex priors read its averages, completed by GRAPPA, as {rows} x {columns}"


def _maps(file: FastMRI) -> str:
    return f"sensitivity maps: {file.maps[1] or 'none'}"


def _reconstruction(file: FastMRI) -> str:
    dataset, name = file.reconstruction
    if dataset is None:
        return "stored reconstruction: none"
    return f"stored reconstruction: {name}, {' x '.join(map(str, dataset.shape))}"
