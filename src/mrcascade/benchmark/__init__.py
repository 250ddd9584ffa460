"""Speed of the modes on this machine: seconds, evaluations, GFLOP and share of the peak."""
