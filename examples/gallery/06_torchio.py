"""
A transform of torchio
======================

`mrcascade.adapters.torchio.SuperResolve` is a transform like those of torchio, so that
super-resolution becomes a step of a pipeline. MONAI has the same as a dictionary transform,
`mrcascade.adapters.monai.SuperResolved`. Install them with::

    pip install 'mrcascade[torchio]'
"""

# %%
# A subject
# ---------
# A coronal slice of a head from the package dipy, measured at half the resolution, and a label map
# on the same coarse grid. Pixels have 2 mm, and the patient lies at an angle.
from importlib.resources import files

import matplotlib.pyplot as plt
import numpy as np
import torch
import torchio

import mrcascade
from mrcascade.adapters.torchio import SuperResolve

whole = np.load(str(files("dipy") / "data/files/t1_coronal_slice.npy")).astype(np.float32)
truth = whole[24:192, 44:212]
measured, _ = mrcascade.simulate(truth, 2, noise=0.01)
angle = np.deg2rad(20)
affine = np.diag([2.0, 2.0, 4.0, 1.0])
affine[:2, :2] = 2 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
low = torch.from_numpy(measured)[None, :, :, None]  # torchio's images are (C, X, Y, Z)
subject = torchio.Subject(
    t1=torchio.ScalarImage(tensor=low, affine=affine),
    head=torchio.LabelMap(tensor=(low > 0.1 * low.max()).to(torch.uint8), affine=affine),
)

# %%
# A pipeline
# ----------
# `Resample` takes the label map to the new grid, by the affines. Intensities stay those of the
# image, so other transforms may follow or precede.
pipeline = torchio.Compose([SuperResolve(2, mode="mean"), torchio.Resample("t1")])
fine = pipeline(subject)
for name, image in fine.items():
    print(name, image.spatial_shape, [round(s, 3) for s in image.spacing])

# %%
# Look
# ----
# Beside the same grid by torchio's own interpolation.
linear = torchio.Resample("t1", image_interpolation="bspline")
grid = torchio.Subject(t1=fine.t1, low=subject.t1)
panels = {
    "measured": low[0, :, :, 0],
    "torchio, B-spline": linear(grid).low.data[0, :, :, 0],
    "posterior mean": fine.t1.data[0, :, :, 0],
    "truth": torch.from_numpy(truth),
}
figure, axes = plt.subplots(1, 4, figsize=(12, 3.6), layout="constrained")
for axis, (name, image) in zip(axes, panels.items(), strict=True):
    axis.imshow(image, cmap="gray", vmin=0, vmax=truth.max())
    if image.shape == truth.shape and name != "truth":
        error = np.sqrt(np.mean((image.numpy() - truth) ** 2))
        name += f"\n{20 * np.log10(truth.max() / error):.1f} dB"
    axis.set_title(name)
    axis.set_axis_off()

# %%
# Standard deviations of several samples (`samples=8`, `mode="sample"`) come as another image,
# `t1_std`. A network that takes MR images of one resolution can have this step before it; what it
# then sees is partly the prior's, as in all super-resolution.
