"""Super-resolution as a dictionary transform of MONAI."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Unpack

from mrcascade.adapters.libraries import import_extra
from mrcascade.adapters.volume import Enlargement, EnlargementOptions
from mrcascade.arrays.factors import Factor

_monai = import_extra("monai")


class SuperResolved(_monai.transforms.MapTransform):  # type: ignore[name-defined]
    """Super-resolve images (C, X, Y, Z) or (C, X, Y) of a dictionary in plane.

    The result is a ``MetaTensor`` on the tensor's device, with the affine of the finer grid and
    the other metadata of the image. Images without an affine get the identity first, as elsewhere
    in MONAI. For several samples the standard deviation follows under ``KEY_std``. The
    transform has no inverse.

    Args:
        keys: keys of the images.
        factor: factor of the in-plane sides, one number or (rows, columns).
        allow_missing_keys: whether a key may be missing.
        options: the other options of an `Enlargement`.

    Raises:
        MRCascadeError: MONAI is not installed (on import); when called, as `super_resolve` does.

    Example:
        >>> import torch
        >>> from monai.data import MetaTensor
        >>> from mrcascade.adapters.monai import SuperResolved
        >>> affine = torch.diag(torch.tensor([2.0, 2.0, 5.0, 1.0]))
        >>> image = MetaTensor(torch.rand(1, 32, 32, 2), affine=affine)
        >>> result = SuperResolved("t2", factor=2, noise=0.0)({"t2": image})["t2"]
        >>> result.shape, result.pixdim.tolist()
        (torch.Size([1, 64, 64, 2]), [1.0, 1.0, 5.0])
    """

    def __init__(
        self,
        keys: Hashable | Sequence[Hashable],
        factor: Factor | Sequence[Factor],
        *,
        allow_missing_keys: bool = False,
        **options: Unpack[EnlargementOptions],
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.enlarge = Enlargement(factor, **options)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the dictionary with its images super-resolved; ``data`` stays as it is."""
        convert, resize = _monai.utils.convert_to_tensor, _monai.data.utils.to_affine_nd
        meta_tensor = _monai.data.MetaTensor
        result = dict(data)
        for key in self.key_iterator(data):
            given = data[key]
            image = given if isinstance(given, meta_tensor) else meta_tensor(convert(given))
            mean, std, affine = self.enlarge(image.as_tensor(), resize(3, image.affine.numpy()))
            for name, values in ((key, mean), (f"{key}_std", std)):
                if values is not None:
                    made = meta_tensor(values).copy_meta_from(image)
                    made.affine = resize(len(image.affine) - 1, affine)
                    result[name] = convert(made, track_meta=_monai.data.get_track_meta())
        return result
