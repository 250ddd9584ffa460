"""Statistics of measured phase against those of `mrcascade.arrays.phase` with the same noise.

    python benchmarks/phase_statistics.py --raw RAW --data DATA

--raw is a folder of complex images and k-space (``complex/*.npy``, ``kspace/**/*_ksp.npy``, slices
or coils last), --data one of magnitudes, whose training images get a simulated phase. Each group of
measured images is compared with simulated ones of its matrix (Fourier-cropped to its longer side)
and its noise levels. Statistics are taken in the object, where a smooth magnitude exceeds a fifth
of the robust maximum:

- gradient: root mean square of the phase's gradient, rad per field of view, of the image cropped to
  64 samples per axis;
- fine 1/8, 1/16, 1/32: root mean square (rad) of the phase relative to that of the image blurred by
  a Gaussian, whose standard deviation is that share of the field of view;
- imaginary 2x, 4x: share of the energy (%) in the imaginary part once the phase of the image at a
  half and a quarter of the resolution has been taken off.

Prints a row per group of measured images and statistic: the measured median and range, the
simulated median and the range of 90 %, and how many measured images lie within that range.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from common import run, table_row, write_json
from mrcascade.arrays.intensity import robust_maximum
from mrcascade.arrays.phase import with_simulated_phase
from mrcascade.data.folder import list_data, read_slices
from mrcascade.errors import MRCascadeError
from mrcascade.operators.crop import fourier_crop
from mrcascade.operators.kernels import down_matrix

OBJECT = 0.2  # share of the robust maximum that a smooth magnitude exceeds in the object
COARSE = 64  # samples per axis for the gradient
BLURS = (8, 16, 32)  # shares of the field of view, as divisors
FACTORS = (2, 4)
CORNER = 10  # corners of a tenth of each side show the noise
MEDIAN_TO_STD = 0.8493218  # sqrt(1 / (2 ln 2)): the median of a Rayleigh magnitude to its sigma


def statistics(image: np.ndarray) -> dict[str, float]:
    """Statistics of the phase of a complex image (H, W)."""
    inside = object_of(image)
    found = {"gradient (rad)": gradient(image)}
    for divisor in BLURS:
        turned = image * np.exp(-1j * np.angle(blurred(image, 1 / divisor)))
        weight = (np.abs(image) ** 2)[inside]
        square = np.average(np.angle(turned[inside]) ** 2, weights=weight)
        found[f"fine 1/{divisor} (rad)"] = float(np.sqrt(square))
    for factor in FACTORS:
        low = zero_filled(image, [n // factor for n in image.shape])
        turned = (image * np.exp(-1j * np.angle(low)))[inside]
        share = np.square(turned.imag).sum() / np.square(np.abs(turned)).sum()
        found[f"imaginary {factor}x (%)"] = float(100 * share)
    return found


def gradient(image: np.ndarray) -> float:
    small = fourier_crop(image[None], (COARSE, COARSE))[0]
    inside = object_of(small)
    total = 0.0
    for axis, n in enumerate(small.shape):
        first, second = (np.take(small, r, axis) for r in (range(n - 1), range(1, n)))
        both = np.take(inside, range(n - 1), axis) & np.take(inside, range(1, n), axis)
        step = np.angle(second * first.conj())[both] * n
        total += np.average(step**2, weights=np.abs(second * first)[both])
    return float(np.sqrt(total))


def object_of(image: np.ndarray) -> np.ndarray:
    smooth = np.abs(gaussian_filter(np.abs(image), 1.0))
    return smooth > OBJECT * robust_maximum(smooth)


def blurred(image: np.ndarray, width: float) -> np.ndarray:
    std = [width * n for n in image.shape]
    return gaussian_filter(image.real, std) + 1j * gaussian_filter(image.imag, std)


def zero_filled(image: np.ndarray, matrix: Sequence[int]) -> np.ndarray:
    """An image (H, W) without what lies outside ``matrix`` in its k-space, on its own grid."""
    rows, cols = (down_matrix("fourier", n, m) for n, m in zip(image.shape, matrix, strict=True))
    up = [m.T * (m.shape[1] / m.shape[0]) for m in (rows, cols)]
    return up[0] @ (rows @ image @ cols.T) @ up[1].T


def noise_of(image: np.ndarray) -> float:
    """Standard deviation of each part in the emptiest corner."""
    rows, cols = (max(4, n // CORNER) for n in image.shape)
    size = np.abs(image)
    corners = [
        a[:, c] for a in (size[:rows], size[-rows:]) for c in (slice(cols), slice(-cols, None))
    ]
    return MEDIAN_TO_STD * min(float(np.median(corner)) for corner in corners)


def measured_images(raw: Path) -> Iterator[tuple[str, str, np.ndarray]]:
    """Group, name and complex image (H, W) of the middle slices and of every coil."""
    for path in sorted((raw / "complex").glob("*.npy")):
        yield "combined coils", path.stem, np.load(path)
    for path in sorted((raw / "kspace").rglob("*_ksp.npy")):
        images = image_of(np.load(path))
        name = path.stem.removesuffix("_ksp")
        if "4ch" in name:
            side = images.shape[1] // 4  # the readout is oversampled by two
            for coil in range(images.shape[2]):
                yield "single coils", f"{name} coil {coil}", images[:, side:-side, coil]
            continue
        kind = next(k for k in ("gre", "fisp", "flair", "fse") if k in name)
        for slice_ in (images.shape[2] // 3, images.shape[2] * 2 // 3):
            yield f"0.055 T {kind.upper()}", f"{name} slice {slice_}", images[..., slice_]


def image_of(kspace: np.ndarray) -> np.ndarray:
    centred = np.fft.ifftshift(kspace, (0, 1))
    return np.fft.fftshift(np.fft.ifft2(centred, axes=(0, 1)), (0, 1))


def training_slices(data: Path, most: int) -> list[tuple[str, np.ndarray]]:
    """Name and three neighbouring slices (3, H, W) of training images of several people."""
    seen, found = set(), []
    for file in list_data(data, pairs=False, complex_kspace=False):
        person = file.subject or file.name
        if file.split != "train" or (person, file.contrast) in seen:
            continue
        seen.add((person, file.contrast))
        found.append(file)
    chosen = [found[i] for i in np.unique(np.linspace(0, len(found) - 1, most).round().astype(int))]
    result = []
    for file in chosen:
        _, _, stack, acquired = read_slices(file)
        middle = len(stack) // 2
        stack = stack[max(0, middle - 1) : middle + 2].astype(np.float32)
        result.append((file.name, fourier_crop(stack, acquired.matrix)))
    return result


def simulated(
    magnitudes: list[tuple[str, np.ndarray]], side: int, noise: Sequence[float], seeds: int
) -> list[dict[str, float]]:
    """Statistics of simulated images of at most ``side`` samples per axis.

    noise: shares of the robust maximum, which the images get in turn.
    """
    found = []
    for name, stack in magnitudes:
        share = min(1.0, side / max(stack.shape[1:]))
        small = fourier_crop(stack, [round(n * share) for n in stack.shape[1:]])
        for seed in range(seeds):
            image = with_simulated_phase(small, name, seed)[len(small) // 2]
            rng = np.random.default_rng([seed, len(found)])
            level = noise[len(found) % len(noise)] * robust_maximum(image)
            parts = level * rng.normal(size=(2, *image.shape))
            found.append(statistics(image + parts[0] + 1j * parts[1]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--slices", type=int, default=16, help="training images to simulate on")
    parser.add_argument("--seeds", type=int, default=3, help="simulated phases of each")
    parser.add_argument("--output", type=Path, help="JSON")
    options = parser.parse_args()
    groups: defaultdict[str, list[np.ndarray]] = defaultdict(list)
    for group, _, image in measured_images(options.raw):
        groups[group].append(image)
    if not groups:
        raise MRCascadeError(f"{options.raw}: no complex/*.npy and no kspace/**/*_ksp.npy in it")
    magnitudes = training_slices(options.data, options.slices)

    header = ["measured", "images", "noise (%)", "statistic", "measured", "simulated", "within"]
    print(table_row(header))
    print(table_row(["---"] * len(header)), flush=True)
    rows = []
    for group, images in groups.items():
        levels = [noise_of(image) / robust_maximum(image) for image in images]
        noise, side = 100 * float(np.median(levels)), max(images[0].shape)
        measured = [statistics(image) for image in images]
        expected = simulated(magnitudes, side, levels, options.seeds)
        for key in measured[0]:
            values = np.array([m[key] for m in measured])
            low, middle, high = np.quantile([e[key] for e in expected], (0.05, 0.5, 0.95))
            row = {"group": group, "images": len(images), "noise": noise, "statistic": key}
            row |= {"measured": values.tolist(), "simulated": [low, middle, high]}
            rows.append(row)
            within = int(((values >= low) & (values <= high)).sum())
            told = f"{np.median(values):.3g} ({values.min():.3g} to {values.max():.3g})"
            modelled = f"{middle:.3g} ({low:.3g} to {high:.3g})"
            cells = [group, len(images), f"{noise:.2g}", key, told, modelled, within]
            print(table_row(cells), flush=True)
    write_json(options, rows=rows)


if __name__ == "__main__":
    run(main)
