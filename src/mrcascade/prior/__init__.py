"""The scale-cascaded prior: levels, denoiser, file format, priors by name."""
