"""The tables of `deepinv_comparison`: a row per run, and how far pairs of runs are apart."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from common import table_row

HEADER = (
    "| run | PSNR (dB) | projected (dB) | residual | evaluations | ms per evaluation"
    " | outside the networks (ms) | time / ours |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)
OURS = "ours"

PAIRS = {
    "DiffPIR": [
        ("ours, deepinv's levels and clamp", "deepinv, its dropped estimate"),
        ("ours, deepinv's levels", "ours, deepinv's levels and clamp"),
        ("deepinv", "deepinv, its dropped estimate"),
        (OURS, "deepinv"),
    ],
    "DPS": [("ours, deepinv's start and clip", "deepinv, our levels and step sizes")],
}


def report(sampler: str, rows: Sequence[dict], images: dict[str, Tensor]) -> list[dict]:
    print(f"\n{sampler}\n\n{HEADER}")
    for row in rows:
        projected = "-" if row["projected"] is None else f"{row['projected']:.2f}"
        # Where a gradient is taken, the clock sees the forward passes alone.
        outside = f"{row['ms_outside']:.1f}" if sampler == "DiffPIR" else "-"
        cells = [row["run"], f"{row['psnr']:.2f}", projected, f"{row['residual']:.1e}"]
        cells += [row["evaluations"], f"{row['ms']:.1f}", outside, f"{row['time_ratio']:.3f}"]
        print(table_row(cells))
    print("\n| difference (robust maximum = 1) | rms | largest |\n| --- | ---: | ---: |")
    distances = []
    for a, b in PAIRS[sampler]:
        distances.append({"a": a, "b": b, **distance(images[a], images[b])})
        rms, largest = distances[-1]["rms"], distances[-1]["max"]
        print(table_row([f"{a} - {b}", f"{rms:.1e}", f"{largest:.1e}"]), flush=True)
    return distances


def distance(a: Tensor, b: Tensor) -> dict[str, float]:
    """In units of the robust maximum."""
    difference = (a - b).double()
    return {"rms": float(difference.square().mean().sqrt()), "max": float(difference.abs().max())}
