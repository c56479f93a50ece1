"""What the daemon shows of itself: logs, metrics, health, systemd."""
