"""Scores of a volume with thin slices that was made from thick ones.

Truth and result are compared in the body, without one thick slice at each end, which the cut field
of view disturbs. The range of PSNR and SSIM is the robust maximum of the truth.
"""

from __future__ import annotations

import math

import numpy as np

from mrcascade.evaluation.isotropic.volumes import ThickCase, UnsuitableVolumeError
from mrcascade.evaluation.metrics import psnr
from mrcascade.restore.volume import along

#: Share of the range above which a sample belongs to the body.
BODY_SHARE = 0.1
#: Rounds of the closing that fills gaps of the body.
CLOSING = 3
#: Standard deviation of the Gaussian window of SSIM (Wang et al. 2004), in samples.
SSIM_SIGMA = 1.5
#: Fewest samples along an axis: SSIM's window, which ends at 3.5 standard deviations.
SSIM_SIDE = 2 * int(3.5 * SSIM_SIGMA + 0.5) + 1


class VolumeScorer:
    """Scores results for one case.

    Example:
        >>> import numpy as np
        >>> from mrcascade.evaluation.isotropic.scores import VolumeScorer
        >>> from mrcascade.evaluation.isotropic.volumes import ThickCase
        >>> from mrcascade.restore.volume import ThickSlices, along
        >>> truth = np.random.default_rng(0).random((20, 16, 16), np.float32)
        >>> thick = ThickSlices(5, 20)
        >>> case = ThickCase(0, (1, 2), truth, along(thick.matrix(), truth), thick, 1.0, 0.0)
        >>> round(VolumeScorer(case)(truth)["gain"], 6)
        1.0
    """

    def __init__(self, case: ThickCase) -> None:
        """Prepare for a case.

        Raises UnsuitableVolumeError where there is nothing to score: no body, no detail along the
        slice axis, or fewer samples than SSIM's window has.
        """
        if min(case.truth.shape) < SSIM_SIDE:
            raise UnsuitableVolumeError(f"fewer than {SSIM_SIDE} samples along an axis")
        self._case = case
        self._range = float(np.percentile(case.truth, 99.9))
        self.body = body_mask(case.truth, self._range, case.factor)
        if not self.body.any():
            raise UnsuitableVolumeError("no body between the end slices")
        self._band = self._lost(case.truth)
        if not self._band.any():
            raise UnsuitableVolumeError("no detail along the slice axis")

    def __call__(self, image: np.ndarray) -> dict[str, float]:
        """Return the scores of a result (n, h, w).

        * ``psnr``: dB.
        * ``ssim``: structural similarity with a three-dimensional Gaussian window.
        * ``gain``: ``<x, t> / <t, t>`` of the band that the slices did not measure: the share of
          the truth's detail that is in the result, in the right place.
        * ``power``: ``<x, x> / <t, t>`` of that band.
        * ``residual``: ``||A x - y|| / ||y||``.
        """
        case, truth = self._case, self._case.truth
        band = self._lost(image)
        energy = float((self._band**2).sum())
        missed = along(case.thick.matrix(), image) - case.measurement
        x, t = (volume[self.body].astype(np.float64) for volume in (image, truth))
        return {
            "psnr": psnr(t, x, self._range),
            "ssim": float(ssim_map(truth, image, self._range)[self.body].mean(dtype=np.float64)),
            "gain": float((band * self._band).sum()) / energy,
            "power": float((band**2).sum()) / energy,
            "residual": float(np.linalg.norm(missed) / np.linalg.norm(case.measurement)),
        }

    def _lost(self, volume: np.ndarray) -> np.ndarray:
        """Return the band that the slices did not measure, in the body."""
        return lost_band(volume, self._case.factor)[self.body].astype(np.float64)


def body_mask(truth: np.ndarray, data_range: float, factor: float) -> np.ndarray:
    """Return the body of a volume (n, h, w), without one thick slice at each end.

    The body is what exceeds `BODY_SHARE` of the range, closed, with holes of each plane across the
    slice axis filled.

    Args:
        truth: the volume, whose first axis the slices follow.
        data_range: its robust maximum.
        factor: slice distance in samples.
    """
    from scipy.ndimage import binary_closing, binary_fill_holes

    body = binary_closing(truth > BODY_SHARE * data_range, iterations=CLOSING)
    body = np.stack([binary_fill_holes(plane) for plane in body])
    end = math.ceil(factor)
    body[:end] = body[-end:] = False
    return np.asarray(body)


def lost_band(volume: np.ndarray, factor: float) -> np.ndarray:
    """Return the frequencies above ``1 / (2 factor)`` along the first axis of (n, h, w).

    The volume is extended evenly, so that its ends do not step.
    """
    n = len(volume)
    spectrum = np.fft.rfft(np.concatenate([volume, volume[::-1]]), axis=0)
    spectrum[np.fft.rfftfreq(2 * n) < 0.5 / factor] = 0
    return np.asarray(np.fft.irfft(spectrum, n=2 * n, axis=0)[:n])


def ssim_map(truth: np.ndarray, image: np.ndarray, data_range: float) -> np.ndarray:
    """Return the structural similarity around each sample of two volumes (n, h, w)."""
    from skimage.metrics import structural_similarity

    _, similarity = structural_similarity(
        truth,
        image,
        data_range=data_range,
        gaussian_weights=True,
        sigma=SSIM_SIGMA,
        use_sample_covariance=False,
        full=True,
    )
    return np.asarray(similarity)
