"""Images as arrays: intensities, channels, factors and sizes, phase."""
