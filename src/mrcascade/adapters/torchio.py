"""Super-resolution as a transform of torchio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcascade.adapters.libraries import import_extra
from mrcascade.adapters.volume import Enlargement, EnlargementOptions
from mrcascade.arrays.factors import Factor

_torchio = import_extra("torchio")


class SuperResolve(_torchio.Transform):  # type: ignore[name-defined]
    """Super-resolve the scalar images (C, X, Y, Z) of a subject in plane.

    Spatial shape and affine become those of the finer grid. Label maps stay as they are; torchio's
    ``Resample("NAME")`` brings them onto the grid of an image. For several samples the subject
    gets the standard deviation as an image ``NAME_std``. The transform has no inverse.

    Args:
        factor: factor of the in-plane sides, one number or (rows, columns).
        options: the other options of an `Enlargement`, and arguments of torchio's ``Transform``,
            such as ``include``.

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
        **options: Any,
    ) -> None:
        own = EnlargementOptions.__annotations__
        super().__init__(**{name: value for name, value in options.items() if name not in own})
        chosen = {name: value for name, value in options.items() if name in own}
        self.enlarge = Enlargement(factor, **chosen)
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
