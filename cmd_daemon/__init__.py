"""The campaign-management daemon: campaigns, steps, groups and jobs of the Rubin data releases."""

__version__ = "0.1.0"
