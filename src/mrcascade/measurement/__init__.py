"""What a measurement says of itself: intensity, noise, acquired matrix, cut borders."""
