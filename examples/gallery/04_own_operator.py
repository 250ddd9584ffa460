"""
Your own operator
=================

A prior works with any linear measurement that you can write as a function and its adjoint. Here the
patient turned by ten degrees before a low-resolution scan, so the operator turns, blurs and
samples. It is not separable.
"""

# %%
# Forward and adjoint
# -------------------
# The rotation is bilinear, so its adjoint is the transpose of a sparse matrix. `forward` maps
# `(..., H, W)` to `(..., h, w)`, and `adjoint` goes back.
from importlib.resources import files

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.ndimage import affine_transform
from scipy.sparse import csr_array

import mrcascade

whole = np.load(str(files("dipy") / "data/files/t1_coronal_slice.npy")).astype(np.float32)
truth = whole[24:192, 44:212]
side = truth.shape[0]

angle = np.deg2rad(10)
turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
middle = (side - 1) / 2
places = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij")).reshape(2, -1)
there = turn @ (places - middle) + middle
first = np.floor(there).astype(int)
rest = there - first
columns, rows, values = [], [], []
for corner in ((0, 0), (0, 1), (1, 0), (1, 1)):
    at = first + np.array(corner)[:, None]
    weight = np.prod(np.where(np.array(corner)[:, None] == 1, rest, 1 - rest), axis=0)
    inside = ((at >= 0) & (at < side)).all(0)
    rows.append(np.arange(side * side)[inside])
    columns.append((at[0] * side + at[1])[inside])
    values.append(weight[inside])
entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
rotation = csr_array(entries, shape=(side * side, side * side))

# %%
# Compare it with scipy before you trust it.
theirs = affine_transform(
    truth, turn, middle - turn @ [middle, middle], order=1, mode="grid-constant"
)
ours = (rotation @ truth.ravel()).reshape(side, side)
print(f"largest difference from scipy: {np.abs(theirs - ours).max() / truth.max():.0e}")

# %%
# The scan itself averages 2 x 2 pixels, which is the kernel `area`.
scan = mrcascade.SeparableOperator.from_kernel("area", 2, (side, side))


def apply(matrix: csr_array, x: torch.Tensor) -> torch.Tensor:
    """Multiply every image of a batch by a sparse matrix."""
    flat = x.reshape(-1, side * side).numpy()
    return torch.from_numpy((matrix @ flat.T).T.reshape(x.shape)).to(x.dtype)


operator = mrcascade.CallableOperator(
    forward=lambda x: scan(apply(rotation, x)),
    adjoint=lambda y: apply(rotation.T.tocsr(), scan.H(y)),
    in_shape=(side, side),
    out_shape=(side // 2, side // 2),
    name="turned, 2x",
)
measured = operator @ truth

# %%
# Restore
# -------
# The proximal step runs conjugate gradients, so the same modes work. The paper's sampler and all
# other recipes take this operator too.
result = mrcascade.super_resolve(measured, operator, "mr-small", noise=0.01, mode="mean")
start = operator.pinv(torch.from_numpy(measured)).numpy()
figure, axes = plt.subplots(1, 4, figsize=(12, 3.9), layout="constrained")
panels = {
    "measured": measured,
    "minimum norm": start,
    "posterior mean": result.mean,
    "truth": truth,
}
for axis, (name, image) in zip(axes, panels.items(), strict=True):
    axis.imshow(image, cmap="gray", vmin=0, vmax=truth.max())
    if image.shape == truth.shape and image is not truth:
        error = np.sqrt(np.mean((image - truth) ** 2))
        name += f"\n{20 * np.log10(truth.max() / error):.1f} dB"
    axis.set_title(name)
    axis.set_axis_off()
