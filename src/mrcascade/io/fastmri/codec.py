"""fastMRI files as a file format: they are read, never written."""

from contextlib import ExitStack
from pathlib import Path

from mrcascade.io.fastmri.describe import describe_fastmri
from mrcascade.io.fastmri.file import patient_of
from mrcascade.io.fastmri.pixels import open_images
from mrcascade.io.file import Codec, ImageFile
from mrcascade.io.raw import RawPixels


class _FastMRI(Codec):
    def open(self, file: ImageFile, stack: ExitStack, complex_valued: bool) -> RawPixels:
        return stack.enter_context(open_images(file.path, complex_valued))

    def patient(self, path: Path) -> str:
        return patient_of(path)

    def describe(self, path: Path) -> tuple[list[str], bool]:
        return describe_fastmri(path)


CODEC = _FastMRI()
