"""
Thick slices to isotropic voxels
================================

Clinical stacks have fine pixels and thick slices. `mrcascade sr --isotropic` makes thin slices of
the same field of view.
"""

# %%
# A stack of thick slices
# -----------------------
# The volume is a brain at 2 mm that the package nibabel brings along, resampled to 1.5 mm, as the
# prior needs 32 samples a side. We average four coronal planes into one slice each, with a Gaussian
# profile, and write the 6 mm stack as NIfTI.
import tempfile
from importlib.resources import files
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
from scipy.ndimage import zoom

import mrcascade

folder = Path(tempfile.mkdtemp())
volume = nib.load(str(files("nibabel") / "tests/data/example4d.nii.gz"))
brain = np.asarray(volume.dataobj[38:84, 12:84, :, 0], np.float32)
truth = zoom(brain, np.array(volume.header.get_zooms()[:3]) / 1.5, order=3)
factor, length = 4, truth.shape[1]
centres = (np.arange(length // factor) + 0.5) * factor - 0.5
offsets = (np.arange(length) - centres[:, None]) / factor  # in slice thicknesses
profile = np.exp(-4 * np.log(2) * offsets**2)
profile /= profile.sum(1, keepdims=True)
thick = np.einsum("ka,xaz->xkz", profile, truth).astype(np.float32)
mrcascade.write_image(thick, folder / "thick.nii.gz", affine=np.diag([1.5, 6.0, 1.5, 1.0]))
print(f"{thick.shape[1]} slices of 6 mm, {thick.shape[0]} x {thick.shape[2]} pixels of 1.5 mm")

# %%
# Make them thin
# --------------
# `say=print` shows what was read from the file and what was assumed. The command line does the
# same::
#
#     mrcascade sr thick.nii.gz -o out/ --isotropic
#
# Mode "lsq" needs no prior: the smoothest volume that explains the slices, in a second.
results = {}
for mode in ("lsq", "mean"):
    # Mode "lsq" takes the slices as they are; the prior is told that they hold no noise.
    options = {} if mode == "lsq" else {"noise": 0.0, "batch_size": 8}
    written = mrcascade.make_isotropic_file(
        folder / "thick.nii.gz",
        folder / mode,
        mode=mode,
        say=print,
        **options,
    )
    results[mode] = mrcascade.read_image(written[0]).data
print([path.name for path in written])

# %%
# Look
# ----
# An axial plane, which contains the slice axis (from left to right). Leave out a thick slice at
# each end, as the fields of view end there.
plane, inner = truth.shape[2] // 2, slice(factor, -factor)
panels = {
    "thick slices": np.repeat(thick, factor, axis=1),
    "least squares": results["lsq"],
    "posterior mean": results["mean"],
    "truth": truth,
}
figure, axes = plt.subplots(1, 4, figsize=(12, 3.6), layout="constrained")
for axis, (name, image) in zip(axes, panels.items(), strict=True):
    error = (image - truth)[:, inner]
    psnr = 20 * np.log10(truth.max() / np.sqrt(np.mean(error**2))) if image is not truth else np.inf
    axis.imshow(image[:, :, plane], cmap="gray", vmin=0, vmax=np.percentile(truth, 99.8))
    axis.set_title(name if image is truth else f"{name}\n{psnr:.1f} dB")
    axis.set_axis_off()

# %%
# Detail along the slice axis that the slices did not measure comes from the prior. Compare with
# "lsq" before you rely on it. Here `sr` also warns, with reason, that this small volume without a
# skull is unlike the images that the prior has learned from.
