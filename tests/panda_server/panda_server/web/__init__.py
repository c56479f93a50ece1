"""The HTTP side: envelope and refusals, identity, and the calls."""
