"""Facts estimated from a measurement: intensity, noise, acquired matrix, cut borders, exactness."""
