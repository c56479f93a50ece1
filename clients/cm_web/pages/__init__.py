"""A module for each kind of page: what it asks the daemon, and what its template shows."""
