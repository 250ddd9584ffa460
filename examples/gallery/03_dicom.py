"""
DICOM in and out
================

A DICOM series goes in, a derived series comes out: the same patient and study, a new series, and a
geometry that fits the new matrix.
"""

# %%
# A file that pydicom brings along for its tests, 64 x 64. `sr` also takes folders and zip archives.
import json
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pydicom
from pydicom.data import get_testdata_file

import mrcascade

source = Path(get_testdata_file("MR_small.dcm", download=False))
folder = Path(tempfile.mkdtemp())

# %%
# The command line does the same: `mrcascade sr MR_small.dcm -o out/ --factor 2 --samples 4`.
# `say=print` shows the decisions that you would see on the terminal. Fewer steps than the default
# keep this page quick.
written = mrcascade.super_resolve_file(
    source, folder, factor=2, samples=4, steps=8, batch_size=4, say=print
)
for path in written:
    print(path.relative_to(folder))

# %%
# The result, one sample and the standard deviation map are folders of DICOM files. Compare their
# headers with the source's.
before = pydicom.dcmread(source)
results = [pydicom.dcmread(next(path.glob("*"))) for path in written if path.is_dir()]
print(f"{'':24}{'source':>28}{'result':>28}")
for keyword in ("Rows", "PixelSpacing", "SeriesNumber", "SeriesDescription", "ImageType"):
    old, new = (getattr(file, keyword, "") for file in (before, results[0]))
    print(f"{keyword:24}{old!s:>28.28}{new!s:>28.28}")
assert results[0].StudyInstanceUID == before.StudyInstanceUID
assert results[0].SeriesInstanceUID != before.SeriesInstanceUID

# %%
# The JSON file beside them says how the result was made.
record = json.loads(written[-1].read_text())
for key in ("Prior", "NoiseOrigin", "Residual", "DomainScore", "OutOfDomain"):
    print(f"{key}: {record.get(key)}")

# %%
# This image is a tiny test file, and `sr` says what it thinks of it: read such warnings before you
# read the picture.
figure, axes = plt.subplots(1, 4, figsize=(12, 3.4), layout="constrained")
names = ("source, 64 x 64", "mean of the samples", "one sample", "standard deviation")
for axis, file, name in zip(axes, (before, *results), names, strict=True):
    image = file.pixel_array * float(getattr(file, "RescaleSlope", 1))
    axis.imshow(image, cmap="magma" if name == "standard deviation" else "gray", vmin=0)
    axis.set_title(name)
    axis.set_axis_off()
