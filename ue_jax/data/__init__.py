"""Everything becomes a Data: arrays, named sets, plain info."""
