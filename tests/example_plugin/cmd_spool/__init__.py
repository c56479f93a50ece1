"""Example plugin: a batch system that is a directory with a queue, and everything to drive it."""
