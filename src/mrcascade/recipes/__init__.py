"""Names and options of reconstructions; free of torch."""
