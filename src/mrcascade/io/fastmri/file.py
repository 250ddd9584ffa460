"""An open fastMRI file: its datasets, checked before anything large is read.

Its authors publish the layout (repositories of fastMRI and fastMRI prostate):

- `kspace`: (slices, rows, columns), (slices, coils, rows, columns), or for the prostate (averages,
  slices, coils, rows, columns)
- `reconstruction_rss`, `reconstruction_esc`, and `reconstruction` in submitted results: (slices,
  rows, columns)
- `coil_sens_maps`: (slices, coils, rows, columns)
- `calibration_data` of the prostate: (slices, coils, rows, lines)
- `ismrmrd_header`: text

Each is optional, but a file needs `kspace` or a reconstruction. h5py is imported when a file is
touched.
"""

import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io.fastmri.filters import check_chunks, check_filters
from mrcascade.io.fastmri.header import LARGEST_HEADER, ISMRMRDHeader, parse_header
from mrcascade.io.fastmri.kspace import Matrix, Sampling, sampling_of
from mrcascade.io.stream import reading
from mrcascade.storage.files import open_regular

MAPS = ("coil_sens_maps", "sensitivity_maps", "sens_maps")
ATTRIBUTES = ("acquisition", "patient_id", "max", "norm")
_RECONSTRUCTIONS = ("reconstruction_rss", "reconstruction_esc", "reconstruction")
# A single-coil file's own reconstruction. Its `reconstruction_rss` is that of the original coils.
_RECONSTRUCTIONS_SINGLE = ("reconstruction_esc", "reconstruction_rss", "reconstruction")
_KSPACE_AXES = (3, 4, 5)
# Deflate packs at most 1032 bytes into one (zlib's technical notes).
_LARGEST_RATIO = 1032
# Real slices have up to 50 MB. Chunks are read whole.
_LARGEST_SLICE = 2**28
_CHUNK_CACHE = 2**26
# The sum of squares of an image of such values is within single precision.
_LARGEST_VALUE = 1e15
_REASON_LENGTH = 120


@dataclass(frozen=True)
class FastMRI:
    """Content of a fastMRI file (see the module); datasets that are not there are None.

    Averages, slices, coils and matrices are those of the k-space.

    Attributes:
        path: the file.
        header: its ISMRMRD header.
        kspace: dataset of the k-space.
        reconstruction, maps: dataset, and its name.
        attributes: the `ATTRIBUTES` that are there.
    """

    path: Path
    header: ISMRMRDHeader
    kspace: Any
    reconstruction: tuple[Any, str]
    maps: tuple[Any, str]
    attributes: Mapping[str, str | float]

    @property
    def averages(self) -> int:
        """Number of averages of the k-space; 1 without k-space."""
        return int(self.kspace.shape[0]) if self.kspace is not None and self.kspace.ndim == 5 else 1

    @property
    def slices(self) -> int:
        """Number of slices."""
        return int(self.kspace.shape[1 if self.kspace.ndim == 5 else 0])

    @property
    def coils(self) -> int:
        """Number of coils."""
        return 1 if self.kspace.ndim == 3 else int(self.kspace.shape[-3])

    @property
    def kspace_matrix(self) -> Matrix:
        """Samples (rows, columns) of the k-space."""
        return int(self.kspace.shape[-2]), int(self.kspace.shape[-1])

    @property
    def grid(self) -> Matrix:
        """Samples (rows, columns) of the k-space with its zero filling.

        Averages of the prostate lack it in the file: their reconstruction has as many columns as
        rows (repository of fastMRI prostate).
        """
        rows, columns = self.kspace_matrix
        return (rows, max(rows, columns)) if self.averages > 1 else (rows, columns)

    @property
    def matrix(self) -> Matrix:
        """Matrix (rows, columns) of images of the k-space, at most its `grid`.

        It is the reconstructed matrix of the header, else that of the stored reconstruction, else
        half of the readout, which fastMRI oversamples by two.
        """
        rows, columns = self.grid
        if self.header.recon is not None:
            wanted = self.header.recon.matrix[:2]
        elif self.reconstruction[0] is not None:
            wanted = self.reconstruction[0].shape[1:]
        else:
            wanted = rows // 2, columns
        return max(1, min(rows, wanted[0])), min(columns, wanted[1])

    @cached_property
    def sampling(self) -> Sampling:
        """Sampling of the middle slice."""
        return sampling_of(self.read_kspace(self.slices // 2))

    @property
    def obstacle(self) -> str:
        """Reason why no image can be made of the k-space; empty where one can."""
        if self.kspace is None:
            return "it has no k-space"
        if self.averages > 1:
            return (
                f"its k-space has {self.averages} averages, which in fastMRI prostate are each"
                " undersampled and meant for GRAPPA"
            )
        return "" if self.sampling.full else "its k-space is undersampled"

    @cached_property
    def calibration(self) -> Any:
        """Dataset of the calibration data; None without.

        Raises MRCascadeError where it is of another layout. Only complex images need it.
        """
        with hdf5_errors(self.path):
            return _dataset(self.kspace.parent, "calibration_data", (4,), "c")

    def read_kspace(self, number: int, average: int = 0) -> np.ndarray:
        """Return slice (coils, rows, columns) of k-space, complex, of one average."""
        index = (average, number) if self.kspace.ndim == 5 else (number,)
        return self._read(self.kspace, index).reshape(self.coils, *self.kspace_matrix)

    def read_calibration(self, number: int) -> np.ndarray:
        """Return slice (coils, rows, lines) of the calibration data."""
        return self._read(self.calibration, (number,))

    def read_maps(self, number: int) -> np.ndarray:
        """Return slice (coils, rows, columns) of the maps."""
        return self._read(self.maps[0], (number,))

    def read_reconstruction(self, number: int) -> np.ndarray:
        """Return slice (rows, columns) of the stored reconstruction, as magnitude."""
        values = self._read(self.reconstruction[0], (number,))
        return np.abs(values) if values.dtype.kind == "c" else values

    def _read(self, dataset: Any, index: tuple[int, ...]) -> np.ndarray:
        """Read values of a dataset.

        Raises MRCascadeError for complex values whose sum of squares overflows. Real values are
        checked later, as those of every image.
        """
        with hdf5_errors(self.path):
            check_chunks(dataset, index)
            values = np.asarray(dataset[index])
        if values.dtype.kind == "c" and not _within(values):
            raise MRCascadeError(
                f"{self.path}: {dataset.name[1:]} holds values that are NaN, infinite or beyond"
                f" {_LARGEST_VALUE:g}; replace them (for instance by 0) and try again"
            )
        return values


@contextmanager
def open_file(path: Path) -> Iterator[FastMRI]:
    """Open an HDF5 file of fastMRI's layout for reading.

    Raises MRCascadeError where it is missing, no HDF5, damaged, or of another layout.
    """
    import h5py

    if path.is_dir():
        raise MRCascadeError(f"{path} is a folder; give the name of an image file")
    with reading(path), open_regular(path):
        pass  # gives a better message than h5py where a file cannot be opened
    with hdf5_errors(path):
        file = h5py.File(path, "r", rdcc_nbytes=_CHUNK_CACHE)
    try:
        with hdf5_errors(path):
            content = _content(file, path)
        yield content
    finally:
        with hdf5_errors(path):
            file.close()


@contextmanager
def hdf5_errors(path: Path) -> Iterator[None]:
    """Turn every error of h5py into a MRCascadeError that names `path`."""
    try:
        yield
    except MRCascadeError:
        raise
    except Exception as error:  # any kind: h5py does not document which
        named = f"{type(error).__name__}: " * (not isinstance(error, OSError | ValueError))
        reason = "".join(c for c in f"{named}{error}" if c.isprintable())
        raise MRCascadeError(
            f"{path} is a damaged fastMRI file, or no fastMRI file"
            f" ({reason[:_REASON_LENGTH].strip()}); copy or download it again"
        ) from error


def _within(values: np.ndarray) -> bool:
    if not np.isfinite(values).all():
        return False
    return bool(max(np.abs(values.real).max(), np.abs(values.imag).max()) < _LARGEST_VALUE)


def _content(file: Any, path: Path) -> FastMRI:
    kspace = _dataset(file, "kspace", _KSPACE_AXES, "c")
    single = kspace is not None and kspace.ndim == 3
    names = _RECONSTRUCTIONS_SINGLE if single else _RECONSTRUCTIONS
    found = FastMRI(
        path=path,
        header=_header(file),
        kspace=kspace,
        reconstruction=_first(file, names, (3,), "fciu"),
        maps=_first(file, MAPS, (4,), "c"),
        attributes=_attributes(file),
    )
    if kspace is None and found.reconstruction[0] is None:
        raise MRCascadeError(
            f"{path} holds neither kspace nor a reconstruction of fastMRI; give a file of its"
            " layout, or convert the image to NIfTI"
        )
    return found


def _first(file: Any, names: tuple[str, ...], axes: tuple[int, ...], kinds: str) -> tuple[Any, str]:
    """Return the first dataset that is there, and its name; (None, "") without any."""
    for name in names:
        dataset = _dataset(file, name, axes, kinds)
        if dataset is not None:
            return dataset, name
    return None, ""


def _dataset(file: Any, name: str, axes: tuple[int, ...], kinds: str) -> Any:
    """Return a dataset that can be read slice by slice; None where it is missing.

    Args:
        file: the open HDF5 file.
        name: name of the dataset.
        axes: permitted numbers of axes.
        kinds: permitted kinds of numbers, as in `numpy.dtype.kind`.
    """
    dataset = _linked(file, name)
    if dataset is None:
        return None
    shape, kind = dataset.shape, dataset.dtype
    if shape is None or len(shape) not in axes or not all(shape):
        raise ValueError(f"{name} has the shape {shape}")
    if kind.kind not in kinds:
        raise ValueError(f"{name} holds values of type {kind}")
    # Now, because damaged sizes can ask for more than any disk or memory holds.
    ratio = _LARGEST_RATIO if check_filters(dataset, name) else 1
    if math.prod(shape) * kind.itemsize > ratio * dataset.id.get_storage_size():
        raise ValueError(f"truncated: {name} lacks most of its values")
    pieces = (shape[-3:] if len(shape) > 3 else shape[-2:], dataset.chunks or ())
    if any(math.prod(piece) * kind.itemsize > _LARGEST_SLICE for piece in pieces):
        raise ValueError(f"{name} has slices or chunks beyond 256 MiB")
    return dataset


def _linked(file: Any, name: str) -> Any:
    """Return a dataset whose values lie in this file; other files are not opened."""
    import h5py

    link = file.get(name, getlink=True)
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink) or not isinstance(file[name], h5py.Dataset):
        raise ValueError(f"{name} is no dataset")
    dataset = file[name]
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"{name} lies in other files")
    return dataset


def _header(file: Any) -> ISMRMRDHeader:
    dataset = _linked(file, "ismrmrd_header")
    if dataset is None:
        return ISMRMRDHeader()
    if dataset.shape not in ((), (1,)) or dataset.dtype.itemsize > LARGEST_HEADER:
        raise ValueError(f"ismrmrd_header is {dataset.dtype} of shape {dataset.shape}")
    _check_heap(file, dataset)
    content = np.ravel(dataset[()])[0]
    if not isinstance(content, bytes | str):
        raise ValueError("ismrmrd_header is no text")
    return parse_header(content)


def _check_heap(file: Any, dataset: Any) -> None:
    """Check the size of a text of variable length.

    It lies in a heap, and HDF5 allocates the size that a damaged one states.
    """
    place, base = dataset.id.get_offset(), file.userblock_size
    variable = dataset.dtype.kind == "O"
    if not variable or place is None or file.id.get_create_plist().get_sizes() != (8, 8):
        return
    path = Path(file.filename)
    with path.open("rb") as stream:
        stream.seek(place)
        length, heap = struct.unpack("<LQ", stream.read(12))
        stream.seek(min(base + heap + 8, path.stat().st_size))
        size = int.from_bytes(stream.read(8), "little")
    if max(length, size) > path.stat().st_size:
        raise ValueError("truncated: ismrmrd_header lacks most of its text")


def patient_of(path: Path) -> str:
    """Return the patient named in a file, else the file's own name.

    Raises MRCascadeError as `open_file` does.
    """
    with open_file(path) as file:
        return str(file.attributes.get("patient_id", path.stem))


def _attributes(file: Any) -> dict[str, str | float]:
    """Return the attributes that are single numbers or texts.

    Others are ignored, as all are optional.
    """
    found: dict[str, str | float] = {}
    for name in ATTRIBUTES:
        value = np.asarray(file.attrs[name]).ravel() if name in file.attrs else np.empty(0)
        if value.size != 1:
            continue
        if value.dtype.kind in "fiu":
            found[name] = float(value[0])
        elif isinstance(value[0], str | bytes):
            text = value[0].decode(errors="replace") if isinstance(value[0], bytes) else value[0]
            found[name] = "".join(c for c in str(text) if c.isprintable())
    return found
