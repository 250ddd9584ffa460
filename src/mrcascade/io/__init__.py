"""Files: one `Image` type (pixels, geometry, provenance) and one module per format."""

from mrcascade.io.atomic import atomic_output, atomic_outputs, check_target
from mrcascade.io.geometry import (
    Axes,
    choose_axes,
    describe_axes,
    from_slices,
    plane_name,
    resampled_affine,
    to_slices,
)
from mrcascade.io.image import (
    SUFFIXES,
    Image,
    format_of,
    list_images,
    read_image,
    write_image,
    write_image_into,
)
from mrcascade.io.names import derived_name

__all__ = [
    "SUFFIXES",
    "Axes",
    "Image",
    "atomic_output",
    "atomic_outputs",
    "check_target",
    "choose_axes",
    "derived_name",
    "describe_axes",
    "format_of",
    "from_slices",
    "list_images",
    "plane_name",
    "read_image",
    "resampled_affine",
    "to_slices",
    "write_image",
    "write_image_into",
]
