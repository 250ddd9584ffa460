"""Tuning curves of every sampling method on validation slices, with the same budget for each.

    python benchmarks/tune_methods.py --data DATA --lpips-weights DIR --steps 100 -o tuning

Draws one sample per slice and setting, noise-free, kernel fourier; each method has the same number
of settings. Writes ``tuning.json`` and ``tuning.png`` (LPIPS over PSNR, a curve per method) beside
the evaluation that they come from. Prints for each method the setting with the smallest LPIPS,
averaged over anatomies. Repeat the command to continue an interrupted evaluation.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mrcascade.evaluation.job import Evaluation
from mrcascade.evaluation.run import evaluate

# Six settings each. The multi-grid forms have two numbers, and the more important one varies more.
SETTINGS = {
    "diffpir": [f"zeta={z}" for z in (0, 0.1, 0.3, 0.5, 0.7, 1)],
    "dps": [f"step_size={s}" for s in (1, 4, 8, 16, 24, 32)],
    "multigrid": [
        *(f"zeta={z}:sigma_start=1/1/80" for z in (0.1, 0.3, 0.6)),
        *(f"zeta={z}:sigma_start=3/3/80" for z in (0.1, 0.3, 0.6)),
    ],
    "multigrid-pnp": [f"pnp_sigma={s}/{s}/{s}" for s in (0.05, 0.1, 0.15, 0.2, 0.3, 0.4)],
    "cascade-2level": [f"zeta={z}" for z in (0, 0.1, 0.3, 0.5, 0.7, 1)],
    "paper": [f"zeta={z}" for z in (0, 0.1, 0.2, 0.3, 0.5, 0.7)],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--lpips-weights", type=Path, required=True)
    parser.add_argument("--factor", type=float, default=4)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--max-slices", type=int, default=1, help="slices per file")
    parser.add_argument("--methods", default=",".join(SETTINGS))
    parser.add_argument("--prior", default="mr-small")
    parser.add_argument("--baselines", default="mr-small-baselines")
    parser.add_argument("--precision", default="float32", help="or bfloat16")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    methods = [f"{m}:{s}" for m in options.methods.split(",") for s in SETTINGS[m]]
    job = Evaluation(
        data=options.data,
        methods=tuple(methods),
        split="val",
        factor=(options.factor, options.factor),
        prior=options.prior,
        baselines=options.baselines,
        steps=options.steps,
        precision=options.precision,
        max_slices=options.max_slices,
        workers=options.workers,
        lpips_weights=options.lpips_weights,
    )
    evaluate(job, options.output, say=print, progress=lambda total: lambda count, text: None)
    curves = read_curves(options.output)
    (options.output / "tuning.json").write_text(json.dumps(curves, indent=1) + "\n")
    draw(curves, options.output / "tuning.png")
    for method, settings in curves.items():
        best = min(settings, key=lambda s: mean_lpips(settings[s]))
        figures = ", ".join(
            f"{anatomy} {f['psnr']:.2f} dB, {f['lpips']:.4f}"
            for anatomy, f in settings[best].items()
        )
        print(f"{method}: {best} ({figures})")


Curves = dict[str, dict[str, dict[str, dict[str, float]]]]


def read_curves(folder: Path) -> Curves:
    """Return method -> setting -> anatomy -> {"psnr", "lpips"} from an evaluation's table."""
    document = json.loads((folder / "table.json").read_text())
    curves: Curves = {}
    for group in document["slices"]:
        if group["kind"] == "anatomy":
            method, _, setting = group["method"].partition(":")
            figures = {
                "psnr": group["metrics"]["psnr_slice"]["mean"],
                "lpips": group["metrics"]["lpips"]["mean"],
            }
            curves.setdefault(method, {}).setdefault(setting, {})[group["name"]] = figures
    return {m: dict(sorted(settings.items(), key=_value)) for m, settings in curves.items()}


def _value(item: tuple[str, object]) -> tuple[str, float]:
    """Return a sort key: settings with the same second number together, each by the first."""
    first, _, second = item[0].partition(":")
    return second, float(first.split("=")[1].split("/")[0])


def mean_lpips(anatomies: dict[str, dict[str, float]]) -> float:
    """Return the mean LPIPS over anatomies, with equal weights."""
    return sum(f["lpips"] for f in anatomies.values()) / len(anatomies)


def draw(curves: Curves, target: Path) -> None:
    """Draw a panel per method and anatomy: LPIPS over PSNR, a point per setting."""
    from matplotlib.figure import Figure

    anatomies = sorted({a for settings in curves.values() for f in settings.values() for a in f})
    figure = Figure(figsize=(6 * len(anatomies), 5), layout="constrained")
    panels = figure.subplots(1, len(anatomies), squeeze=False)[0]
    for axes, anatomy in zip(panels, anatomies, strict=True):
        for method, settings in curves.items():
            points = [settings[s][anatomy] for s in settings]
            x, y = ([p[key] for p in points] for key in ("psnr", "lpips"))
            axes.plot(x, y, "o-", ms=4, lw=0.8, label=method)
            for setting, px, py in zip(settings, x, y, strict=True):
                text = setting.split(":")[0].split("=")[1].split("/")[0]
                axes.annotate(text, (px, py), fontsize=6, xytext=(2, 2), textcoords="offset points")
        axes.set(title=anatomy, xlabel="PSNR of one draw (dB)", ylabel="LPIPS")
        axes.legend(fontsize=7)
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main()
