"""Reports: one self-contained HTML file per result, with a viewer, and one per batch.

A report opens from the disk and loads nothing else. Its content security policy names its one
script by a hash, so that text from files cannot run.
"""
