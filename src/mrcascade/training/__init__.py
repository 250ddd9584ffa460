"""Training of the cascade: slices, patches, loss, EMA, checkpoints, export."""
