"""One step on many devices, many runs in one program."""
