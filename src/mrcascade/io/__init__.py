"""Files: `Image` (pixels, geometry, provenance), `Source` (the same, unread), the formats."""

from mrcascade.io.atomic import atomic_output, atomic_outputs, check_target, output_folder
from mrcascade.io.blocks import Axes, Block, SliceStore, StackOrder, file_blocks
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
    list_images,
    output_layout,
    read_image,
    result_ending,
    write_blocks_into,
    write_image,
    write_image_into,
)
from mrcascade.io.names import derived_name, is_result_name
from mrcascade.io.source import SUFFIXES, Source, format_of, open_source

__all__ = [
    "SUFFIXES",
    "Axes",
    "Block",
    "Image",
    "SliceStore",
    "Source",
    "StackOrder",
    "atomic_output",
    "atomic_outputs",
    "check_target",
    "choose_axes",
    "derived_name",
    "describe_axes",
    "file_blocks",
    "format_of",
    "from_slices",
    "is_result_name",
    "list_images",
    "open_source",
    "output_folder",
    "output_layout",
    "plane_name",
    "read_image",
    "resampled_affine",
    "result_ending",
    "to_slices",
    "write_blocks_into",
    "write_image",
    "write_image_into",
]
