"""Finding out what a subject still knows."""
