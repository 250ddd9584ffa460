"""
In plane: 2x and 4x, with uncertainty
=====================================

A brain slice loses half, then three quarters, of its matrix in both directions. The prior restores
it, and we look at what the posterior mean, one sample and the standard deviation say.
"""

# %%
# The slice is a T1-weighted coronal image that the package dipy brings along. `simulate` crops its
# k-space, as a scan with a smaller matrix would. The operator `H` describes that measurement.
from importlib.resources import files

import matplotlib.pyplot as plt
import numpy as np
import torch

import mrcascade

whole = np.load(str(files("dipy") / "data/files/t1_coronal_slice.npy")).astype(np.float32)
truth = whole[48:168, 60:204]
white = truth.max()
measured, operators = {}, {}
for factor in (2, 4):
    measured[factor], operators[factor] = mrcascade.simulate(truth, factor)
    print(f"{factor}x: measured {measured[factor].shape}, restored {truth.shape}")

# %%
# Restore
# -------
# Without `mode`, one image is the posterior mean. Mode "sample" draws from the posterior; several
# samples, here at 4x, come with their own mean and standard deviation. `noise=0` says that the
# measurement is exact; without it, the noise is estimated.
prior = mrcascade.CascadePrior.from_pretrained("mr-small")
means, draws = {}, {}
for factor, count in ((2, 1), (4, 4)):
    low, operator = measured[factor], operators[factor]
    means[factor] = mrcascade.super_resolve(low, operator, prior, noise=0.0)
    draws[factor] = mrcascade.super_resolve(
        low, operator, prior, noise=0.0, mode="sample", samples=count, batch_size=count
    )


def psnr(image: np.ndarray) -> str:
    """Return the PSNR against the truth, whose maximum is the data range."""
    return f"{20 * np.log10(white / np.sqrt(np.mean((image - truth) ** 2))):.1f} dB"


# %%
# Look
# ----
# The mean has the highest PSNR and looks a little smooth. A sample looks like an MR image, and has
# more error: its finest detail is plausible, not measured.
for factor in measured:
    zero_filled = operators[factor].pinv(torch.from_numpy(measured[factor])).numpy()
    panels = {
        "zero filling": zero_filled,
        "posterior mean": means[factor].mean,
        "one sample": draws[factor].sample,
        "truth": truth,
    }
    figure, axes = plt.subplots(1, 4, figsize=(12, 3.2), layout="constrained")
    for axis, (name, image) in zip(axes, panels.items(), strict=True):
        axis.imshow(image[20:100, 30:130], cmap="gray", vmin=0, vmax=white)
        axis.set_title(f"{factor}x, {name}" + ("" if image is truth else f"\n{psnr(image)}"))
        axis.set_axis_off()

# %%
# Where to trust it
# -----------------
# The standard deviation map is the spread of the samples, in the unit of the image. It is large
# where the measurement leaves the anatomy open: at edges and fine folds. The map is calibrated on
# average, and it knows nothing of pathologies.
figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
error = np.abs(draws[4].mean - truth)
for axis, image, name in zip(
    axes,
    (draws[4].std, error, draws[4].mean),
    ("standard deviation (4x)", "absolute error of the samples' mean", "samples' mean"),
    strict=True,
):
    gray = name == "samples' mean"
    shown = axis.imshow(
        image, cmap="gray" if gray else "magma", vmin=0, vmax=white if gray else 0.15 * white
    )
    axis.set_title(name)
    axis.set_axis_off()
    figure.colorbar(shown, ax=axis, shrink=0.8, label="intensity of the image")

# %%
# The residual is the norm of `y - H x` over that of `y`. With noise-free data every result meets
# its measurement, so the residual says nothing about the detail that was added.
for factor in measured:
    print(f"{factor}x: residual of the mean {float(np.max(means[factor].residual)):.0e}")
