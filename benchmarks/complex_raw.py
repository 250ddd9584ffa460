"""What priors make of measured complex images: error relative to zero filling.

    MRCASCADE_LPIPS=WEIGHTS python benchmarks/complex_raw.py --raw RAW --priors mr-mini-complex

--raw is a folder of complex images and k-space (as for ``phase_statistics.py``), which no prior may
be trained on. Crops the k-space of each image by each factor, without adding noise, and restores it
with every prior. One more case is the first combined image, zero-filled from 0.6 of its matrix, as
by a scanner: it has hardly any detail to find at 2x.

Prints, per case and factor, the complex NMSE of zero filling and its change by each prior (%), and
with LPIPS's weights the LPIPS of the magnitudes. A prior of magnitudes is applied in two ways: to
real and imaginary part alone ("parts"), and to both after the local phase of the zero-filled image
has been taken off ("demodulated"), which gives a bound for what a complex prior should reach.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from common import names, numbers, run, table_row, write_json
from mrcascade import CascadePrior, SeparableOperator, super_resolve
from mrcascade.arrays.channels import from_channels, to_channels
from mrcascade.arrays.intensity import Intensity, robust_maximum
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.lpips import LPIPS, find_weights
from mrcascade.operators.crop import centre_crop
from mrcascade.prior.local_phase import local_phase, with_phase, without_phase
from phase_statistics import measured_images, zero_filled

SOURCE_SHARE = 0.6  # of the matrix that the zero-filled case has measured
MULTIPLE = 8  # of the sides, for whole coarse grids
Task = tuple[np.ndarray, SeparableOperator, float]  # measurement, its operator, robust maximum
Method = Callable[[Task], np.ndarray]


def complex_prior(prior: CascadePrior, noise: float | None) -> Method:
    return lambda task: restored(task, task[0], prior, noise)


def parts(prior: CascadePrior, noise: float | None) -> Method:
    def restore(task: Task) -> np.ndarray:
        real, imaginary = (restored(task, p, prior, noise) for p in (task[0].real, task[0].imag))
        return real + 1j * imaginary

    return restore


def demodulated(prior: CascadePrior, noise: float | None) -> Method:
    """The phase is taken off the zero-filled image, so its real part is measured anew; in the end
    the result is projected onto the data."""

    def restore(task: Task) -> np.ndarray:
        y, operator, _ = task
        smooth = zero_filling(task)
        phase = local_phase(to_channels(smooth[None]))
        (seen,) = from_channels(without_phase(to_channels(smooth[None]), phase))
        low = operator(torch.from_numpy(seen[None]))[0].numpy()
        real = restored(task, low.real, prior, noise)
        (result,) = from_channels(with_phase(to_channels((real + 1j * seen.imag)[None]), phase))
        left = torch.from_numpy(y[None]) - operator(torch.from_numpy(result[None]))
        return result + operator.pinv(left)[0].numpy()

    return restore


def restored(task: Task, y: np.ndarray, prior: CascadePrior, noise: float | None) -> np.ndarray:
    _, operator, scale = task
    return super_resolve(
        np.ascontiguousarray(y),
        operator,
        prior,
        noise=noise,
        mode="mean",
        intensity=Intensity(scale),
    ).mean


def zero_filling(task: Task) -> np.ndarray:
    return task[1].pinv(torch.from_numpy(task[0][None]))[0].numpy()


def methods(given: Sequence[str], noise: float | None) -> dict[str, Method]:
    found: dict[str, Method] = {"zero filling": zero_filling}
    for name in given:
        prior = CascadePrior.from_pretrained(name)
        if prior.channels == 2:
            found[name] = complex_prior(prior, noise)
        else:
            found[f"{name}, parts"] = parts(prior, noise)
            found[f"{name}, demodulated"] = demodulated(prior, noise)
    return found


def cases(raw: Path) -> list[tuple[str, np.ndarray]]:
    """Group and image (H, W), complex64, of every case."""
    found = []
    for group, _, image in measured_images(raw):
        (image,) = centre_crop(image[None], (MULTIPLE, MULTIPLE))
        if not found:
            matrix = [int(SOURCE_SHARE * n) // MULTIPLE * MULTIPLE for n in image.shape]
            found.append(("zero-filled by its source", zero_filled(image, matrix)))
        found.append((group, image))
    if not found:
        raise MRCascadeError(f"{raw}: no complex/*.npy and no kspace/**/*_ksp.npy in it")
    return [(group, image.astype(np.complex64)) for group, image in found]


def nmse(truth: np.ndarray, image: np.ndarray) -> float:
    return float(np.linalg.norm(image - truth) ** 2 / np.linalg.norm(truth) ** 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--priors", nargs="+", default=["mr-mini-complex", "mr-small"])
    parser.add_argument("--factor", type=numbers, default=[2.0, 4.0])
    parser.add_argument("--groups", type=names, help="beginnings of groups of cases; default: all")
    parser.add_argument("--most", type=int, help="cases per group; default: all")
    parser.add_argument("--estimate-noise", action="store_true", help="default: data are exact")
    parser.add_argument("--output", type=Path, help="JSON")
    options = parser.parse_args()
    groups: defaultdict[str, list[np.ndarray]] = defaultdict(list)
    for group, image in cases(options.raw):
        if options.groups is None or any(group.startswith(g) for g in options.groups):
            groups[group].append(image)
    tried = methods(options.priors, None if options.estimate_noise else 0.0)
    files = find_weights()
    lpips = None if files is None else LPIPS.load(files)

    others = [f"{name} ({what})" for name in list(tried)[1:] for what in ("%", "LPIPS")]
    header = ["case", "images", "factor", "zero filling: NMSE", "LPIPS", *others]
    print(table_row(header))
    print(table_row(["---"] * len(header)), flush=True)
    rows = []
    for group, images in groups.items():
        for factor in options.factor:
            errors, distances = defaultdict(list), defaultdict(list)
            for image in images[: options.most]:
                operator = SeparableOperator.from_kernel("fourier", factor, image.shape)
                y = operator(torch.from_numpy(image[None]))[0].numpy()
                for name, method in tried.items():
                    found = method((y, operator, robust_maximum(y))).astype(np.complex64)
                    errors[name].append(nmse(image, found))
                    if lpips is not None:
                        distances[name] += list(lpips.slices(image[None], found[None]))
            row = {"group": group, "factor": factor, "nmse": errors, "lpips": distances}
            rows.append(row)
            print(table_row(cells(row, list(tried))), flush=True)
    write_json(options, rows=rows)


def cells(row: dict, tried: list[str]) -> list[str]:
    first, *others = tried
    zero = np.array(row["nmse"][first])
    distance = {n: f"{np.mean(v):.4f}" for n, v in row["lpips"].items()}
    result = [row["group"], str(len(zero)), f"{row['factor']:g}", f"{zero.mean():.5f}"]
    result.append(distance.get(first, "-"))
    for name in others:
        changes = 100 * (np.array(row["nmse"][name]) / zero - 1)
        told = f"{changes.mean():+.1f}"
        if len(changes) > 1:
            told += f" ({changes.min():+.1f} to {changes.max():+.1f})"
        result += [told, distance.get(name, "-")]
    return result


if __name__ == "__main__":
    run(main)
