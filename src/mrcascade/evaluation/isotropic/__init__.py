"""Methods that make thick slices isotropic, compared on volumes whose thin slices are known."""
