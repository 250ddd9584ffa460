"""Pictures of slices: the preview beside a result, marks, windows of detail."""
