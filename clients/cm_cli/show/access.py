"""Who a caller is, and who called what, for people."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import RenderableType

from cmd_api.v1.audit_pb2 import AuditEntry
from cmd_api.v1.daemon_pb2 import Caller

from .console import facts, row, table, text
from .text import moment

_PROOFS = {
    "socket": "the Unix socket: its permissions let you in, the name is what you say of yourself",
    "certificate": "your certificate",
    "token": "your token",
}


def caller_facts(caller: Caller) -> RenderableType:
    """Who, what role, by what proof, until when."""
    may = "your own campaigns and schedules only" if caller.owners_only else ""
    return facts(
        [
            ("you are", caller.who),
            ("by", _PROOFS.get(caller.proof, caller.proof)),
            ("role", caller.role or "none: you may do nothing"),
            ("changes", may if caller.role != "admin" else ""),
            ("because of", ", ".join(caller.groups)),
            ("until (UTC)", moment(caller.expire_time)),
            ("from", caller.peer),
        ]
    )


def audit_table(entries: Iterable[AuditEntry]) -> RenderableType:
    """Calls, a line each."""
    grid = table("Time (UTC)", "Who", "Call", "What", "Result", "Reason")
    grid.columns[2].no_wrap = True
    for entry in entries:
        good = entry.result == "OK"
        change = f"{entry.before} -> {entry.after}" if entry.before != entry.after else ""
        result = text(change or "OK") if good else text(entry.result, "bold red")
        row(
            grid,
            moment(entry.time),
            f"{entry.who or 'unknown'} ({entry.proof or 'no proof'})\n{entry.peer}",
            entry.method.partition("/")[2] or entry.method,
            entry.name,
            result,
            entry.reason if good else entry.message,
        )
    return grid
