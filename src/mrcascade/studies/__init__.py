"""Studies: several evaluations on the same slices, compared on one page."""
