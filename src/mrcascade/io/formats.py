"""The table of file formats: one record with all facts about each format.

It answers which format a file has, which results it gives, and what messages and help texts list.
It imports no library that reads files, so that ``mrcascade --help`` is quick. A new format is a
record here and a module with its `Codec`.
"""

from dataclasses import dataclass
from pathlib import PurePath

from mrcascade.errors import MRCascadeError
from mrcascade.storage.atomic import FOLDER_ENDING

Plane = tuple[int, int]


@dataclass(frozen=True)
class Format:
    """Facts about one file format.

    Attributes:
        name: value of `Image.format` and of ``--format``.
        called: name in help texts.
        endings: endings of file names, in lower case; results get the first one.
        codec: module that holds the format's `CODEC`; it is imported when a file is touched.
        results: name of the format of its results, where it is another one.
        requestable: whether ``--format`` may name it, for results of any format.
        read_only: reason why such files are not written, as words that follow the name of the
            file; empty where they are.
        own_only: reason why only its own images have results in it, as words that follow the name
            of an input of another format; empty where all can.
        folder: whether an image is a folder, an archive or files known by their content
            (`Codec.recognises`). The endings are then those of the folders that are written.
        last_axis_fastest: whether files are written with the last axis fastest.
        dimensions: largest number of axes of an array.
        geometry: whether it stores the position of the voxels; results with an affine need it.
        oriented: whether its affine gives the position in the patient; else it gives distances
            only.
        complex: whether it holds complex values.
        plane: array axes (rows, columns) of the images that it stores one by one; None where the
            format does not determine the planes of a volume.
        sidecars: whether a JSON file of the image's name describes it.
        quick: whether its header is read at once, without decoding pixels.
        private: whether its headers and folders tend to name patients.
        pseudonyms: whether pseudonyms can replace patients in its headers.
    """

    name: str
    called: str
    endings: tuple[str, ...]
    codec: str
    results: str = ""
    requestable: bool = False
    read_only: str = ""
    own_only: str = ""
    folder: bool = False
    last_axis_fastest: bool = True
    dimensions: int = 4
    geometry: bool = False
    oriented: bool = True
    complex: bool = False
    plane: Plane | None = None
    sidecars: bool = True
    quick: bool = True
    private: bool = False
    pseudonyms: bool = False

    def layout(self, ndim: int) -> tuple[int, ...]:
        """Return the axes of a written array, from the slowest to the fastest in the file."""
        axes = tuple(range(ndim))
        return axes if self.last_axis_fastest else axes[::-1]


_TABLE = (
    Format(
        "nifti",
        called="NIfTI",
        endings=(".nii.gz", ".nii"),
        codec="mrcascade.io.nifti",
        requestable=True,
        last_axis_fastest=False,
        geometry=True,
        complex=True,
    ),
    Format("npy", called=".npy", endings=(".npy",), codec="mrcascade.io.npy", complex=True),
    Format(
        "png",
        called="grey PNG",
        endings=(".png",),
        codec="mrcascade.io.picture",
        results="tiff",
        read_only=" has no supported ending: PNG cannot hold a result without rounding; write"
        " .nii.gz, .nii, .npy or .tif",
    ),
    Format(
        "tiff",
        called="grey TIFF",
        endings=(".tif", ".tiff"),
        codec="mrcascade.io.picture",
        dimensions=2,
    ),
    Format(
        "fastmri",
        called="fastMRI",
        endings=(".h5",),
        codec="mrcascade.io.fastmri.codec",
        results="nifti",
        read_only=": results are not written as k-space; write .nii.gz instead",
        geometry=True,
        oriented=False,
        complex=True,
        plane=(0, 1),
        quick=False,
        private=True,
    ),
    Format(
        "dicom",
        called="DICOM",
        endings=(FOLDER_ENDING,),
        codec="mrcascade.io.dicom.codec",
        requestable=True,
        own_only=" is no DICOM series, and a DICOM result needs the patient, study and scanner of"
        " one; leave --format out, or give the series",
        folder=True,
        last_axis_fastest=False,
        geometry=True,
        plane=(1, 0),
        sidecars=False,
        private=True,
        pseudonyms=True,
    ),
)
FORMATS = {record.name: record for record in _TABLE}


def register_format(record: Format) -> Format:
    """Add a format to the table for all commands of this process.

    Returns the record. Raises MRCascadeError where its name or one of its endings is taken, or an
    ending has no dot or has capital letters.
    """
    taken = [e for one in FORMATS.values() for e in one.endings if e in record.endings]
    if record.name in FORMATS or taken:
        raise MRCascadeError(f"the format {(taken or [record.name])[0]!r} is in the table already")
    for ending in record.endings:
        if not ending.startswith(".") or ending != ending.lower():
            raise MRCascadeError(f"ending {ending!r}: write it with a dot and in lower case")
    FORMATS[record.name] = record
    return record


def format_named(name: str) -> Format:
    """Return the record of a format. Raises MRCascadeError for an unknown name."""
    try:
        return FORMATS[name]
    except KeyError:
        known = ", ".join(FORMATS)
        raise MRCascadeError(f"no file format is called {name!r}; known are {known}") from None


def file_endings() -> tuple[str, ...]:
    """Return the endings of image files, in the order of the table."""
    return tuple(e for one in FORMATS.values() if not one.folder for e in one.endings)


def format_by_ending(path: PurePath) -> Format | None:
    """Return the format that has the ending of ``path``, if any, without a look at the disk."""
    name = path.name.lower()
    files = (one for one in FORMATS.values() if not one.folder)
    return next((one for one in files if name.endswith(one.endings)), None)


def format_to_write(path: PurePath) -> Format:
    """Return the format of an output by its ending. Raises MRCascadeError for unknown endings."""
    name = path.name.lower()
    for one in FORMATS.values():
        if name.endswith(one.endings):
            return one
    endings = (e for one in FORMATS.values() if not one.read_only for e in one.endings)
    raise MRCascadeError(f"{path} has no supported ending; supported are {', '.join(endings)}")


def requestable_formats() -> list[str]:
    """Return the names that ``--format`` takes."""
    return [one.name for one in FORMATS.values() if one.requestable]


def formats_in_words(folders: bool = True) -> str:
    """List the formats that are read, for a help text.

    Args:
        folders: whether to include formats whose images are folders.
    """
    *first, last = (one.called for one in FORMATS.values() if folders or not one.folder)
    return f"{', '.join(first)} or {last}"
