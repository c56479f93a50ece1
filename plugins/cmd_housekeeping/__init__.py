"""Housekeeping: scripts at facilities over ssh and through ARC computing elements."""
