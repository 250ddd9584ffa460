"""Files on disk: bounded reading, atomic writing, protection of files that are not ours."""
