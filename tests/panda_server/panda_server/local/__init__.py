"""Pilots that really run what was submitted, as processes of this machine in a bounded number."""
