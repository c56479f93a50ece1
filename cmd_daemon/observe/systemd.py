"""systemd's notification protocol (sd_notify): datagrams to $NOTIFY_SOCKET, nothing without it."""

import os
import socket


def notify(**fields: str | int) -> bool:
    """Send fields such as READY=1, STATUS=..., WATCHDOG=1. False if nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    text = "\n".join(f"{name.upper()}={value}" for name, value in fields.items())
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.connect(address)
            channel.sendall(text.encode())
    except OSError:
        return False
    return True


def watchdog_seconds() -> float | None:
    """Seconds between two signs of life that systemd asks for (half its limit), or None."""
    limit = os.environ.get("WATCHDOG_USEC")
    if not limit or not limit.isdigit():
        return None
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(limit) / 2e6
