"""Several stacks of thick slices made from one volume: how close one volume of them comes.

    python benchmarks/stacks.py VOLUME.nii.gz --noise 0,0.01 --shift 0 0.25 0.5 -o stacks.json

Stacks have slices of FACTOR voxels with a Gaussian profile along each of the three axes. The table
has the PSNR of each stack alone, of the average of the three, and of `sr --combine`, by modes lsq
and mean, for each noise. With ``--shift``, a second table has the PSNR where the second stack is
made of the volume moved by so many voxels, and nothing refuses it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

import mrcascade
from common import numbers, run, write_json
from mrcascade.jobs import stacks as combination
from mrcascade.operators.profile import GAUSSIAN

Figures = dict[str, Any]
AXES = (2, 1, 0)  # axis of the slices of each stack; the first one gives the grid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volume", type=Path)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--factor", type=int, default=4)
    parser.add_argument(
        "--noise", type=numbers, default=[0.0], help="shares of the 99.9th percentile"
    )
    parser.add_argument("--shift", type=float, nargs="*", default=[], metavar="VOXELS")
    parser.add_argument("--prior", default="mr-small")
    parser.add_argument("-o", "--output", type=Path, help="JSON file")
    options = parser.parse_args()
    compared: list[Figures] = []
    displaced: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for noise in options.noise:
            case = Case(options.volume, options.size, options.factor, noise, options.prior)
            compared += case.compared(Path(folder))
        if options.shift:
            case = Case(options.volume, options.size, options.factor, 0.0, options.prior)
            displaced = case.displaced(Path(folder), options.shift)
    write_json(options, compared=compared, displaced=displaced)


class Case:
    """A cube from the middle of a volume's anatomy, and stacks of it."""

    def __init__(self, volume: Path, size: int, factor: int, noise: float, prior: str) -> None:
        self.whole = mrcascade.read_image(volume).data.astype(np.float64)
        self.size, self.factor, self.prior = size, factor, prior
        self.range = float(np.percentile(self.whole, 99.9))
        self.noise = noise
        centre = ndimage.center_of_mass(self.whole > 0.15 * self.range)
        self.first = [round(c - size / 2) for c in centre]
        self.truth = self.cut(self.whole)
        body = ndimage.binary_closing(self.truth > 0.1 * self.range, iterations=3)
        self.inner = np.zeros_like(body)
        inner = (slice(factor, -factor),) * 3
        self.inner[inner] = body[inner]

    def cut(self, volume: np.ndarray) -> np.ndarray:
        return volume[tuple(slice(at, at + self.size) for at in self.first)]

    def stack(self, folder: Path, axis: int, moved: float = 0.0) -> Path:
        """Write the slices across an axis; profiles reach beyond the cube."""
        volume = self.whole
        if moved:
            volume = ndimage.shift(volume, [moved / 3**0.5] * 3, order=3)
        count, n = self.size // self.factor, volume.shape[axis]
        centres = self.first[axis] + (np.arange(count) + 0.5) * self.factor - 0.5
        rows = GAUSSIAN.rows(np.asarray(centres, np.float64), n, self.factor)
        window = [slice(at, at + self.size) for at in self.first]
        window[axis] = slice(None)
        slices = np.moveaxis(np.tensordot(rows, volume[tuple(window)], (1, axis)), 0, axis)
        rng = np.random.default_rng(axis)
        slices = slices + self.noise * self.range * rng.normal(size=slices.shape)
        affine = np.eye(4)
        affine[axis, [axis, 3]] = self.factor, (self.factor - 1) / 2
        path = folder / f"{axis}-{moved:g}.nii"
        mrcascade.write_image(slices.astype(np.float32), path, affine=affine, overwrite=True)
        return path

    def psnr(self, made: np.ndarray) -> float:
        error = (made - self.truth)[self.inner]
        return float(20 * np.log10(self.range / np.sqrt(np.mean(error**2))))

    def compared(self, folder: Path) -> list[Figures]:
        """Return the PSNR of each stack, of their average and of the combination, by mode."""
        stacks = [self.stack(folder, axis) for axis in AXES]
        print(f"noise {self.noise:g}")
        print("mode  each stack alone       average  combined  (PSNR, dB)")
        found: list[Figures] = []
        for mode in ("lsq", "mean"):
            alone = [self.made(folder, [path], mode) for path in stacks]
            singles = [self.psnr(one) for one in alone]
            each = "  ".join(f"{one:.2f}" for one in singles)
            average = self.psnr(np.mean(alone, 0))
            combined = self.psnr(self.made(folder, stacks, mode))
            print(f"{mode:4}  {each:23}  {average:.2f}    {combined:.2f}", flush=True)
            found.append(
                {
                    "noise": self.noise,
                    "mode": mode,
                    "alone": singles,
                    "average": average,
                    "combined": combined,
                }
            )
        return found

    def displaced(self, folder: Path, shifts: list[float]) -> Figures:
        """Return the PSNR of mode lsq with a displaced stack, and the motion that is found."""
        combination.LIMIT = np.inf
        still = [self.stack(folder, axis) for axis in AXES]
        alone = self.psnr(self.made(folder, still[:1], "lsq"))
        print(f"the first stack alone, lsq: {alone:.2f} dB")
        print("voxels  found  two stacks  three stacks  (PSNR of lsq, dB)")
        rows: list[Figures] = []
        for shift in shifts:
            moved = self.stack(folder, AXES[1], shift)
            said: list[str] = []
            two = self.psnr(self.made(folder, [still[0], moved], "lsq", said))
            three = self.psnr(self.made(folder, [still[0], moved, still[2]], "lsq"))
            found = next(line for line in said if "its anatomy lies" in line)
            found = found.split("lies ")[1].split(" mm")[0]
            print(f"{shift:6.2f}  {found:>5}  {two:10.2f}  {three:12.2f}", flush=True)
            rows.append({"shift": shift, "found": float(found), "two": two, "three": three})
        return {"alone": alone, "rows": rows}

    def made(
        self, folder: Path, stacks: list[Path], mode: str, said: list[str] | None = None
    ) -> np.ndarray:
        """Return the volume of one stack, or of several."""
        options: dict[str, Any] = {"mode": mode, "overwrite": True}
        if mode == "mean" or len(stacks) > 1:
            options["noise"] = self.noise
        lines: list[str] = [] if said is None else said
        if len(stacks) == 1:
            written = mrcascade.make_isotropic_file(
                stacks[0], folder / "out", self.prior, say=lines.append, **options
            )
        else:
            written = mrcascade.combine_stack_files(
                stacks, folder / "out", self.prior, say=lines.append, **options
            )
        return np.asarray(mrcascade.read_image(written[0]).data, np.float64)


if __name__ == "__main__":
    run(main)
