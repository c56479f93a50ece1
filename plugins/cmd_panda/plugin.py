"""What this plugin brings."""

CMD_API_VERSION = 1
