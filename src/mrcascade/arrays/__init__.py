"""Arrays of image values: intensity units, network channels, factors and sizes, phase."""
