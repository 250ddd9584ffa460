"""fastMRI: k-space of brains, knees and prostates, and reconstructions, in HDF5 files."""

from mrcascade.io.fastmri.describe import describe_fastmri
from mrcascade.io.fastmri.file import patient_of
from mrcascade.io.fastmri.pixels import open_pixels

__all__ = ["describe_fastmri", "open_pixels", "patient_of"]
