"""Choice of the device that computes."""

from __future__ import annotations

import torch

from mrcascade.errors import MRCascadeError


def usable_device(name: str) -> str:
    """Return the device's name; ``auto`` gives cuda where it works, else cpu.

    Raises MRCascadeError for devices that cannot be used here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda":  # not opened here, as other processes may do the work
            if not (torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()):
                raise RuntimeError("there is no such GPU")
        else:
            torch.zeros(1, device=device).cpu()  # fails on the device "meta"
    except Exception as error:  # a backend that is not installed may fail in any way
        raise MRCascadeError(f"--device {name}: not usable here; try --device cpu") from error
    return name
