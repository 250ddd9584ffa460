"""Names of the ways to resample, without the libraries that do it."""

METHODS = ("nearest", "linear", "mean")
