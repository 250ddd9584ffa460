"""Outputs named as a file, where a command otherwise takes a folder."""

from pathlib import Path

from mrcascade.errors import MRCascadeError
from mrcascade.io.file import Named, image_file
from mrcascade.io.formats import FORMATS
from mrcascade.io.image import result_format
from mrcascade.io.names import stem
from mrcascade.io.pair import with_part

# Endings of image files that no result gets by default.
_OTHER_ENDINGS = (".dcm", ".ima", ".mgz", ".mha", ".nrrd", ".jpg", ".jpeg")


def ending_of(output: Path) -> str | None:
    """Return the ending of an output that is named as an image file.

    None for the name of a folder, and for a folder that exists.
    """
    name = output.name.lower()
    if output.is_dir() and not name.endswith(_folder_endings()):
        return None
    endings = (*(e for one in FORMATS.values() for e in one.endings), *_OTHER_ENDINGS)
    return next((e for e in endings if name.endswith(e)), None)


def check_one_result(output: Path, count: int) -> None:
    """Raise MRCascadeError where one file would have to hold the results of several inputs."""
    if count != 1 and ending_of(output) is not None:
        raise MRCascadeError(
            f"{output} is the name of one file, but {count} inputs have a result each; give the"
            " name of a folder"
        )


def check_folder_name(output: Path) -> None:
    """Raise MRCascadeError where an output that must be a folder is named as an image file."""
    if ending_of(output) is not None:
        raise MRCascadeError(f"{output} is the name of a file; give the name of a folder")


def named_output(image: Named, output: Path, kind: str | None = None) -> str | None:
    """Return the ending of an input's result where ``output`` names its file; None for a folder.

    Args:
        image: the input.
        output: file or folder.
        kind: format of the result, as for `result_format`.

    Raises:
        MRCascadeError: the ending is not one of that format, or the name of a pair's result lacks
            its part.
    """
    ending = ending_of(output)
    if ending is None:
        return None
    usual = result_format(image, kind)
    if ending not in usual.endings:
        asked = (f for f in FORMATS.values() if usual.folder and f.requestable)
        name = next((f.name for f in asked if ending in f.endings), "")
        made = kind or image_file(image).format.name
        raise MRCascadeError(
            f"{output}: the result of {image} is {made}; give a name that ends"
            f" in {' or '.join(usual.endings)}, or a folder"
            f"{name and f', or add --format {name}'}"
        )
    if image_file(image).paired and with_part(output, "phase") == output:
        raise MRCascadeError(
            f"{output}: magnitude and phase of {image} are two files; give a name with _part-mag,"
            " or a folder"
        )
    return output.name[-len(ending) :]


def beside(output: Path, what: str, ending: str) -> Path:
    """Return the name of another output beside the result ``output``.

    ``a.nii.gz`` has ``a_std.nii.gz``, and ``a.json`` where ``what`` is empty.
    """
    return output.with_name(f"{_without_ending(output)}{'_' * bool(what)}{what}{ending}")


def _without_ending(output: Path) -> str:
    ending = next((e for e in _folder_endings() if output.name.lower().endswith(e)), None)
    return stem(output) if ending is None else output.name[: -len(ending)]


def _folder_endings() -> tuple[str, ...]:
    return tuple(e for one in FORMATS.values() if one.folder for e in one.endings)
