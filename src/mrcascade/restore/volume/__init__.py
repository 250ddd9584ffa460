"""Volumes of thick slices, restored with a prior of planes that contain the slice axis.

A scan with thick slices measures everything in plane and little along the slice axis. The prior
knows planes. Both kinds of planes that contain the slice axis take part: one volume comes from the
two, and it meets the slices by one projection along that axis.
"""

from mrcascade.restore.volume.plan import VolumePlan
from mrcascade.restore.volume.restorer import RestoredVolume, VolumeRestorer
from mrcascade.restore.volume.thick import (
    ENDS,
    SMOOTHNESS,
    ThickSlices,
    along,
    check_volume,
    least_squares,
    projected,
)

__all__ = [
    "ENDS",
    "SMOOTHNESS",
    "RestoredVolume",
    "ThickSlices",
    "VolumePlan",
    "VolumeRestorer",
    "along",
    "check_volume",
    "least_squares",
    "projected",
]
