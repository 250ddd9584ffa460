"""Files: `Image` (pixels, geometry, provenance), `Source` (the same, unread), the formats."""

from mrcascade.io.atomic import atomic_output, atomic_outputs, check_target, output_folder
from mrcascade.io.blocks import Axes, Block, SliceStore, StackOrder, file_blocks
from mrcascade.io.derivation import Derivation
from mrcascade.io.dicom import ALL_SERIES, Series, choose_series, dicom_files, find_series
from mrcascade.io.geometry import (
    choose_axes,
    describe_axes,
    from_slices,
    plane_name,
    resampled_affine,
    to_slices,
)
from mrcascade.io.image import (
    Image,
    as_stored,
    check_writable,
    list_images,
    output_layout,
    read_image,
    result_ending,
    write_blocks_into,
    write_image,
    write_image_into,
)
from mrcascade.io.names import derived_name, is_result_name
from mrcascade.io.pair import RADIANS, Pair, join_pairs, pair_of, with_part
from mrcascade.io.source import (
    SUFFIXES,
    Input,
    Source,
    format_of,
    input_path,
    input_sha256,
    only_series,
    open_source,
    refuse_phase,
)

__all__ = [
    "ALL_SERIES",
    "RADIANS",
    "SUFFIXES",
    "Axes",
    "Block",
    "Derivation",
    "Image",
    "Input",
    "Pair",
    "Series",
    "SliceStore",
    "Source",
    "StackOrder",
    "as_stored",
    "atomic_output",
    "atomic_outputs",
    "check_target",
    "check_writable",
    "choose_axes",
    "choose_series",
    "derived_name",
    "describe_axes",
    "dicom_files",
    "file_blocks",
    "find_series",
    "format_of",
    "from_slices",
    "input_path",
    "input_sha256",
    "is_result_name",
    "join_pairs",
    "list_images",
    "only_series",
    "open_source",
    "output_folder",
    "output_layout",
    "pair_of",
    "plane_name",
    "read_image",
    "refuse_phase",
    "resampled_affine",
    "result_ending",
    "to_slices",
    "with_part",
    "write_blocks_into",
    "write_image",
    "write_image_into",
]
