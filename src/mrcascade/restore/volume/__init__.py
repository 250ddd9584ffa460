"""Volumes of thick slices, restored with a prior of planes that contain the slice axis.

A scan with thick slices measures everything in plane and little along the slice axis. The prior
knows planes. Both kinds of planes that contain the slice axis take part: one volume comes from the
two, and it meets the slices by one projection along that axis.
"""

from mrcascade.restore.volume.joint import (
    JointVolume,
    StackData,
    average_estimates,
    joint_least_squares,
    joint_projection,
)
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
    "JointVolume",
    "RestoredVolume",
    "StackData",
    "ThickSlices",
    "VolumePlan",
    "VolumeRestorer",
    "along",
    "average_estimates",
    "check_volume",
    "joint_least_squares",
    "joint_projection",
    "least_squares",
    "projected",
]
