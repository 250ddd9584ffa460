"""Pictures of slices: the preview beside a result, marks, enlarged details."""
