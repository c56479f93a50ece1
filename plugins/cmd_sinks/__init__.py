"""Sinks for the transition log and the nexus log: Loki and OpenSearch."""
