"""Rucio moves what the Butlers hold: the driver `rucio`, for the same jobs as the embedded `mover`."""
