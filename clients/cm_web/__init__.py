"""The dashboard: a gRPC client of the daemon that serves web pages, started by `cm web`."""
