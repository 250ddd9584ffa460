"""Super-resolution as a transform of torchio."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.adapters.libraries import import_extra
from mrcascade.adapters.volume import Enlargement
from mrcascade.arrays.factors import Factor
from mrcascade.prior.cascade import CascadePrior
from mrcascade.sampling import Recipe

_torchio = import_extra("torchio")


class SuperResolve(_torchio.Transform):  # type: ignore[name-defined]
    """Super-resolve the scalar images (C, X, Y, Z) of a subject in plane.

    Spatial shape and affine become those of the finer grid. Label maps stay as they are; torchio's
    ``Resample("NAME")`` brings them onto the grid of an image. For several samples the subject
    gets the standard deviation as an image ``NAME_std``. The transform has no inverse.

    Args:
        factor: factor of the in-plane sides, one number or (rows, columns).
        kernel: kernel by which the scan is thought to have downsampled (``KERNELS``).
        axes: in-plane axes (rows, columns), from 0; None chooses them by the voxel sizes.
        prior, noise, mode, steps, samples, seed, batch_size: as for `super_resolve`.
        options: arguments of torchio's ``Transform``, such as ``include``.

    Raises:
        MRCascadeError: torchio is not installed (on import); when called, as `super_resolve` does.

    Example:
        >>> import numpy as np, torch, torchio
        >>> from mrcascade.adapters.torchio import SuperResolve
        >>> affine = np.diag([2.0, 2.0, 5.0, 1.0])
        >>> image = torchio.ScalarImage(tensor=torch.rand(1, 32, 32, 2), affine=affine)
        >>> result = SuperResolve(2, noise=0.0)(image)
        >>> result.spatial_shape, result.spacing
        ((64, 64, 2), (1.0, 1.0, 5.0))
    """

    def __init__(
        self,
        factor: Factor | Sequence[Factor],
        *,
        kernel: str = "fourier",
        axes: tuple[int, int] | None = None,
        prior: CascadePrior | str | Path = "mr-small",
        noise: float | None = None,
        mode: str | Recipe | None = None,
        steps: int | None = None,
        samples: int = 1,
        seed: int = 0,
        batch_size: int = 1,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.enlarge = Enlargement(
            factor, kernel, axes, prior, noise, mode, steps, samples, seed, batch_size
        )
        self.__dict__.update(vars(self.enlarge))  # where torchio finds the arguments of its history
        self.args_names = list(vars(self.enlarge))

    def apply_transform(self, subject: Any) -> Any:
        """Return the subject with its scalar images super-resolved, as torchio calls it."""
        images = subject.get_images_dict(True, self.include, self.exclude)
        with np.errstate(over="warn", divide="warn", invalid="warn"):  # torchio raises them
            for name, image in images.items():
                mean, std, affine = self.enlarge(image.data, image.affine)
                image.set_data(mean)
                image.affine = affine
                if std is not None:
                    subject.add_image(
                        _torchio.ScalarImage(tensor=std, affine=affine), f"{name}_std"
                    )
        return subject
