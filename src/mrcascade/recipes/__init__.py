"""Names and settings of reconstructions; free of torch."""
