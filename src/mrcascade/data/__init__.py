"""Folders of images: layout, manifest, subjects, contrasts, sizes."""
