"""
Train a tiny prior
==================

Training from a folder of images to a restored slice, in seconds. The networks are far too small
and the training far too short for real use; `mrcascade train` scales from here to several GPUs.
"""

# %%
# Data
# ----
# Any folder of images will do. Ours holds parts of one slice, too few to keep one for validation.
# Yours should hold many people, in folders `train`, `val` and `test`.
import tempfile
from importlib.resources import files
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import mrcascade
from mrcascade.cli import main

folder = Path(tempfile.mkdtemp())
whole = np.load(str(files("dipy") / "data/files/t1_coronal_slice.npy")).astype(np.float32)
data = folder / "data"
data.mkdir()
for number, (row, column) in enumerate(((30, 40), (30, 120), (90, 40), (90, 120))):
    np.save(data / f"sub{number}.npy", whole[row : row + 96, column : column + 96])

# %%
# Train
# -----
# `--images` is the number of patches per level. With `--network small` and the default of
# `--images` the same command makes a prior of the size of the shipped one::
#
#     mrcascade train --data data --network tiny --images 96 -o runs/tiny
command = f"train --data {data} --network tiny --images 96 --device cpu -o {folder}/run"
code = main(command.split())
print("exit code", code)

# %%
# The losses of every level are in the run folder, also as a picture.
figure, axis = plt.subplots(figsize=(9, 5), layout="constrained")
axis.imshow(plt.imread(folder / "run" / "loss.png"))
axis.set_axis_off()

# %%
# Use it
# ------
# A prior is a folder. After so few patches ours is no better than zero filling; the shipped one has
# learned from 55 people for hours.
# sphinx_gallery_thumbnail_number = 2
truth = whole[60:156, 80:176]
low, operator = mrcascade.simulate(truth, 2)
figure, axes = plt.subplots(1, 4, figsize=(12, 3.9), layout="constrained")
panels = {"zero filling": operator.pinv(torch.from_numpy(low)).numpy()}
for name, prior in (("this prior", folder / "run" / "prior"), ("mr-small", "mr-small")):
    panels[name] = mrcascade.super_resolve(low, operator, prior, noise=0.0).mean
for axis, (name, image) in zip(axes, [*panels.items(), ("truth", truth)], strict=True):
    axis.imshow(image, cmap="gray", vmin=0, vmax=truth.max())
    error = np.sqrt(np.mean((image - truth) ** 2))
    axis.set_title(f"{name}\n{20 * np.log10(truth.max() / error):.1f} dB" if error else name)
    axis.set_axis_off()
