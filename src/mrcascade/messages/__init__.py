"""What a person reads: one line per fault, text that is safe to print, durations."""
