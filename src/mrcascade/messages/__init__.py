"""Text for the user: one-line errors, printable text, durations, silent libraries."""
