"""Why an entity is where it is, and events, for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cmd_api.v1.daemon_pb2 import ExplainEntityResponse
from cmd_api.v1.event_pb2 import Event
from rich.console import Group as Stack
from rich.console import RenderableType
from rich.text import Text

from cm_client import short_name

from .console import row, state_text, table, text
from .placement import placement, what_if
from .text import clock, moment


def explanation(answer: ExplainEntityResponse, without: Sequence[str] = ()) -> RenderableType:
    """State, what it waits for, what can be done, where it was placed, and its newest events; or, with
    facilities to be without, its state, where it would go then, and where it was placed."""
    head = Text.assemble(text(short_name(answer.name), "bold"), "  ", state_text(answer.state))
    parts: list[RenderableType] = [head]
    if answer.summary and answer.summary != answer.state:
        parts.append(text(answer.summary))
    if without:
        parts += ["", _without(answer, without)]
    else:
        parts += _waits_and_actions(answer)
    if answer.HasField("placement"):
        parts += ["", placement(answer.placement)]
    if answer.story and not without:
        story = event_table(answer.story, short_name(answer.name))
        parts += ["", text("Story, newest first:", "bold"), story]
    return Stack(*parts)


def _waits_and_actions(answer: ExplainEntityResponse) -> list[RenderableType]:
    parts: list[RenderableType] = []
    if answer.waiting:
        grid = table("Waits for", "What", "Since (UTC)", "Until (UTC)")
        for waiting in answer.waiting:
            what = f"{waiting.text} ({short_name(waiting.name)})" if waiting.name else waiting.text
            row(grid, waiting.kind, what, moment(waiting.since), moment(waiting.until))
        parts += ["", grid]
    if answer.actions:
        parts += ["", text("What you can do:", "bold")]
        parts += [text(f"  {action}", "cyan") for action in answer.actions]
    return parts


def _without(answer: ExplainEntityResponse, without: Sequence[str]) -> RenderableType:
    if answer.HasField("what_if"):
        return what_if(answer.what_if, without, answer.placement.facility)
    return text("It is not to be placed any more: nothing would change.", "bold yellow")


def event_table(events: Iterable[Event], below: str = "") -> RenderableType:
    """Events, a line each, in the order given; names below an entity without its own."""
    grid = table("Time (UTC)", "What", "Change", "Cause")
    for event in events:
        name = short_name(event.name)
        what = name.removeprefix(f"{below}/") if name != below else event.kind
        row(grid, moment(event.time), what, _change(event), _cause(event))
    return grid


def event_line(event: Event) -> Text:
    """One event on one line, for output that goes on."""
    line = Text.assemble(clock(event.time), " ", text(event.kind), " ")
    line.append_text(text(short_name(event.name), "bold"))
    line.append(" ").append_text(_change(event))
    cause = _cause(event)
    return line.append_text(text(f"  {cause}")) if cause else line


def _change(event: Event) -> Text:
    if event.from_state == event.to_state:
        return text("note", "bright_black")
    change = Text.assemble(state_text(event.from_state), " -> ", state_text(event.to_state))
    if event.attempt:
        change.append(f" (attempt {event.attempt})")
    return change


def _cause(event: Event) -> str:
    words = [event.cause]
    if event.actor:
        words.append(f"by {event.actor}")
    if event.facility:
        words.append(f"at {event.facility}")
    return ": ".join(filter(None, (" ".join(filter(None, words)), event.reason)))
