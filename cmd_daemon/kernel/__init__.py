"""PURE: states, events, transitions and decisions. Standard library only; no clock, no I/O."""
