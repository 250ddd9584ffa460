"""Scale-cascaded prior: levels, denoiser, file format, priors by name."""
