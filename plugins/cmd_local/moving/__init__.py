"""Data movement between the Butlers of the facilities: the driver `mover`."""
