"""Files on disk: bounded reading, whole-or-nothing writing, what may be written over."""
