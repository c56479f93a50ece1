"""Bundled plugin: which facility runs a group."""
