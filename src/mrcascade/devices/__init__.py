"""Devices: what torch tells of them, how they fail, in how many bits they compute."""
