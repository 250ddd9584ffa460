"""Measurements in memory to super-resolved slices: plan once, restore any number of slices."""

from mrcascade.restore.in_memory import super_resolve
from mrcascade.restore.plan import Plan, check_measurement, make_plan
from mrcascade.restore.residual import relative_residual
from mrcascade.restore.restorer import Callback, Restoration, Restorer
from mrcascade.restore.settings import check_samples, resolve_settings

__all__ = [
    "Callback",
    "Plan",
    "Restoration",
    "Restorer",
    "check_measurement",
    "check_samples",
    "make_plan",
    "relative_residual",
    "resolve_settings",
    "super_resolve",
]
