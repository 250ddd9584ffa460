"""Image quality: PSNR, SSIM and NMSE, per slice and pooled over a volume.

PSNR and SSIM depend on a data range. Both customs are reported: the maximum of the slice's ground
truth, and that of the volume (fastMRI, Zbontar et al. 2018). SSIM (Wang et al. 2004) uses fastMRI's
settings: uniform 7x7 window, K1 = 0.01, K2 = 0.03, sample covariance. Complex images are compared
by magnitude; further metrics compare their phase. Real images keep their negative values.
"""

from __future__ import annotations

import numpy as np

from mrcascade.errors import MRCascadeError

SSIM_WINDOW = 7
SSIM_K1, SSIM_K2 = 0.01, 0.03


def slice_metrics(truth: np.ndarray, image: np.ndarray, volume_maximum: float) -> dict[str, float]:
    """Return ``psnr_slice``, ``psnr_volmax`` (dB), ``ssim_slice``, ``ssim_volmax`` and ``nmse``.

    Args:
        truth: (H, W), ground truth in any unit, not zero everywhere.
        image: (H, W), in the same unit.
        volume_maximum: largest magnitude of the ground truth's volume.
    """
    slice_maximum = largest_magnitude(truth)
    truth, image = comparable(truth), comparable(image)
    return {
        "psnr_slice": psnr(truth, image, slice_maximum),
        "psnr_volmax": psnr(truth, image, volume_maximum),
        "ssim_slice": ssim(truth, image, slice_maximum),
        "ssim_volmax": ssim(truth, image, volume_maximum),
        "nmse": nmse(truth, image),
    }


def complex_metrics(truth: np.ndarray, image: np.ndarray) -> dict[str, float | None]:
    """Return ``nmse_complex`` and ``phase_error`` of complex images (H, W); None for real truth.

    ``nmse_complex`` is ``||x - truth||^2 / ||truth||^2`` over complex values. ``phase_error`` is
    the root mean square of the phase difference in (-pi, pi] rad. Pixels are weighted by the
    truth's magnitude, because the phase of air means nothing.
    """
    if not np.iscomplexobj(truth):
        return {"nmse_complex": None, "phase_error": None}
    truth, image = truth.astype(np.complex128), image.astype(np.complex128)
    error = np.sum(np.abs(truth - image) ** 2) / np.sum(np.abs(truth) ** 2)
    difference = np.angle(image * truth.conj())
    spread = np.average(difference**2, weights=np.abs(truth))
    return {"nmse_complex": float(error), "phase_error": float(np.sqrt(spread))}


def spread_skill(
    truth: np.ndarray, mean: np.ndarray, std: np.ndarray, samples: int, body: np.ndarray
) -> float:
    """Return the ratio of spread to error of a mean of samples (Fortin et al. 2014).

    It is the root mean square of ``sqrt(1 + 1/K) std`` over that of ``truth - mean`` within the
    body: 1 if truth and samples come from one distribution, less if the samples spread too little.

    Args:
        truth: (H, W), ground truth.
        mean: (H, W), mean of K samples.
        std: (H, W), standard deviation over the samples.
        samples: K.
        body: (H, W), mask. The result is NaN if it is empty.
    """
    if not body.any():
        return float("nan")
    spread = (1 + 1 / samples) * np.mean(std[body].astype(np.float64) ** 2)
    return float(np.sqrt(spread / np.mean(np.abs(truth - mean)[body].astype(np.float64) ** 2)))


def pooled_metrics(
    nmse: np.ndarray, ssim: np.ndarray, energy: np.ndarray, pixels: int, volume_maximum: float
) -> dict[str, float]:
    """Return fastMRI's metrics of a volume, from the metrics of its slices.

    ``psnr`` and ``nmse`` come from the pooled error of all slices, and ``ssim`` is the mean over
    slices. The data range is the volume maximum.

    Args:
        nmse, ssim: (S,) ``nmse`` and ``ssim_volmax`` of each slice.
        energy: (S,) sum of squares of each slice's ground truth.
        pixels: number of pixels of a slice.
        volume_maximum: largest magnitude of the ground truth's volume.
    """
    error = float(np.sum(nmse * energy))
    mean = error / (pixels * len(energy))
    return {
        "psnr": float("inf") if error == 0 else float(10 * np.log10(volume_maximum**2 / mean)),
        "ssim": float(np.mean(ssim)),
        "nmse": error / float(np.sum(energy)),
    }


def comparable(image: np.ndarray) -> np.ndarray:
    """Return an image in float64; of a complex image the magnitude."""
    return (np.abs(image) if np.iscomplexobj(image) else image).astype(np.float64)


def largest_magnitude(image: np.ndarray) -> float:
    """Return the largest magnitude of an image, which serves as data range."""
    return float(np.abs(image).max())


def psnr(truth: np.ndarray, image: np.ndarray, data_range: float) -> float:
    """Return ``20 log10(range / rmse)`` in dB over all pixels; infinite for equal images."""
    error = float(np.mean((truth - image) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(data_range**2 / error))


def nmse(truth: np.ndarray, image: np.ndarray) -> float:
    """Return ``||x - truth||^2 / ||truth||^2`` over all pixels."""
    return float(np.sum((truth - image) ** 2) / np.sum(truth**2))


def ssim(truth: np.ndarray, image: np.ndarray, data_range: float) -> float:
    """Return the structural similarity of two (H, W) images, with the settings above.

    Raises MRCascadeError for images smaller than the window.
    """
    from skimage.metrics import structural_similarity

    if min(truth.shape) < SSIM_WINDOW:
        raise MRCascadeError(
            f"images of {truth.shape[0]}x{truth.shape[1]} are smaller than SSIM's window of"
            f" {SSIM_WINDOW} pixels; evaluate larger ones"
        )
    return float(
        structural_similarity(
            truth,
            image,
            win_size=SSIM_WINDOW,
            data_range=data_range,
            K1=SSIM_K1,
            K2=SSIM_K2,
            use_sample_covariance=True,
        )
    )
