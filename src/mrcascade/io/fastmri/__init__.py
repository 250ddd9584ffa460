"""fastMRI: k-space of brains, knees and prostates, and reconstructions, in HDF5 files."""
