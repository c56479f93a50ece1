"""How a notice reads, for each kind of reader."""

from collections.abc import Sequence
from urllib.parse import quote

from cmd_daemon.hooks import Notice

MOST = 20
"""Notices spelt out in one message; the rest is counted."""

_MARKS = {"urgent": "🔴", "warning": "🟠", "info": "🟢"}


def link(dashboard: str, notice: Notice) -> str:
    """The address of the entity's page; "" without a dashboard."""
    if not dashboard or notice.entity == "daemon":
        return ""
    return f"{dashboard.rstrip('/')}/{quote(notice.entity)}"


def subject(notices: Sequence[Notice]) -> str:
    """One line for all of them."""
    if len(notices) == 1:
        return _line(notices[0].text)[:150]
    urgent = sum(each.severity == "urgent" for each in notices)
    told = f"{len(notices)} notices"
    return f"{told}, {urgent} urgent" if urgent else told


def plain(notices: Sequence[Notice], dashboard: str) -> str:
    """A text of some lines for each notice."""
    parts = []
    for each in notices[:MOST]:
        lines = [f"[{each.severity}] {_line(each.text)}"]
        if each.command:
            lines.append(f"  {each.command}")
        if address := link(dashboard, each):
            lines.append(f"  {address}")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + _rest(notices)


def chat(notices: Sequence[Notice], dashboard: str) -> str:
    """As `plain`, in the marks that Slack and Mattermost share. What they would take for marks in
    names and reasons is escaped."""
    parts = []
    for each in notices[:MOST]:
        lines = [f"{_MARKS.get(each.severity, '')} {_escaped(_line(each.text))}"]
        if each.command:
            lines.append(f"`{each.command.replace('`', '')}`")
        if address := link(dashboard, each):
            lines.append(address)
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + _rest(notices)


def _rest(notices: Sequence[Notice]) -> str:
    more = len(notices) - MOST
    return f"\n\nand {more} more: cm status" if more > 0 else ""


def _line(text: str) -> str:
    return " ".join(text.split())[:1000]


def _escaped(text: str) -> str:
    # https://api.slack.com/reference/surfaces/formatting#escaping; '@' would call people in Mattermost.
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("@", "@\u200b")
