"""Templates and what they may call. Everything is escaped, and cleaned of characters that obey."""

from __future__ import annotations

import hashlib
import json
import time
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote, urlencode

from google.protobuf.timestamp_pb2 import Timestamp
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cm_client import parse_name, short_name
from cm_client import words as w
from cm_client.forecast import done_of

from . import states
from .actions import Action, offered

STATIC = files("cm_web") / "static"


def finalize(value: Any) -> Any:
    """What an expression of a template puts into the page: text without control and direction
    characters; None as nothing."""
    if value is None:
        return ""
    if isinstance(value, str) and not isinstance(value, Markup):
        return w.clean(value, lines=True)
    return value


def url(name: str, **query: object) -> str:
    """The page of a resource: its name is its path."""
    given = {key: value for key, value in query.items() if value not in ("", None)}
    return f"/{quote(name)}" + (f"?{urlencode(given)}" if given else "")


def part(name: str) -> str:
    """The last part of a resource name."""
    return name.rpartition("/")[2]


def seconds(stamp: Timestamp) -> float:
    """Seconds since the epoch; 0 if not set."""
    return stamp.ToMicroseconds() / 1e6 if stamp.seconds else 0.0


def number(value: float) -> str:
    """12 345 with a thin blank that does not break."""
    return f"{value:,.0f}".replace(",", "\u202f")


def percent(value: float) -> str:
    """A share: 97 %, 99.9 %, never 100 % for what is not all, never 0 % for what is not nothing."""
    if value in (0.0, 1.0):
        return f"{value:.0%}".replace("%", " %")
    shown = f"{min(99.9, max(0.1, 100 * value)):.1f}"
    return (shown if value > 0.99 or value < 0.01 else f"{100 * value:.0f}") + " %"


def data_id(text: str) -> str:
    """`visit=1010, detector=1` for a data id in JSON; other text as it is."""
    if not text.startswith("{") or len(text) > 1000:
        return text
    try:
        told = json.loads(text)
    except ValueError:
        return text
    return ", ".join(f"{key}={value}" for key, value in told.items())


@cache
def static(name: str) -> str:
    """The address of a file of ours, which changes with it: browsers may keep it for good."""
    digest = hashlib.sha256(STATIC.joinpath(name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


def environment() -> Environment:
    """The templates."""
    env = Environment(
        loader=PackageLoader("cm_web"),
        autoescape=True,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.globals.update(
        url=url,
        part=part,
        short=short_name,
        static=static,
        state_word=w.state_word,
        standing_word=w.standing_word,
        kind=states.kind,
        facility_word=states.facility_word,
        ordered=states.ordered,
        segments=states.segments,
        done_of=done_of,
        FINAL=w.FINAL,
        seconds=seconds,
        now=time.time,
        offered=offered,
        act=action_url,
        counted=w.counted,
        full_name=lambda name: parse_name(name).full,
    )
    env.filters.update(
        moment=w.moment,
        clock=w.clock,
        data_id=data_id,
        duration=w.duration,
        size=w.size,
        number=number,
        percent=percent,
        quanta=w.quanta_text,
        progress=w.progress_text,
    )
    return env


def action_url(action: Action, *names: str) -> str:
    """The page where an action is confirmed."""
    pairs = [("name", name) for name in (names or (action.name,))]
    pairs += [("mode", action.mode)] if action.mode else []
    return f"/act/{action.verb}?{urlencode(pairs)}"
