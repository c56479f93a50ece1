"""Bundled plugin: jobs as local processes of a facility, and the facility's Butler agent."""
