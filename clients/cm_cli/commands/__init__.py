"""The commands of `cm`, one file per family."""
