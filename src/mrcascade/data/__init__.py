"""Folders of images for training and evaluation: layout, manifest, subjects, contrasts, sizes."""
