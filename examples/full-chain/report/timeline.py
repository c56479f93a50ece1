"""The timeline: steps above, below them one lane for each facility with a bar for each group's jobs."""

from collections import defaultdict
from dataclasses import dataclass, field

import words
from markup import Html, el
from reading import Facts, JobAttempt

from cm_client import parse_name
from cmd_api.v1 import step_pb2

WIDTH = 1120
LEFT = 150
RIGHT = 16
ROW = 13
BAR = 9
STEP_ROW = 17
LANE_GAP = 22
STYLES = {"process": "process", "script": "script", "collect": "collect"}


@dataclass(slots=True)
class _Line:
    """What one group did at one facility."""

    attempts: list[JobAttempt] = field(default_factory=list)
    start: float = 0.0
    end: float = 0.0
    row: int = 0


@dataclass(frozen=True, slots=True)
class _Scale:
    """Seconds (UTC) to pixels."""

    start: float
    length: float

    def __call__(self, at: float) -> float:
        share = (at - self.start) / self.length
        return LEFT + max(0.0, min(1.0, share)) * (WIDTH - LEFT - RIGHT)


def timeline(facts: Facts, colours: dict[str, str]) -> Html:
    """The drawing, as SVG. `colours` are CSS colours by step."""
    scale = _Scale(facts.started, max(1.0, facts.ended - facts.started))
    lanes = {name: _lines(facts, name) for name in facts.facility_names}
    below = 26 + STEP_ROW * len(facts.steps) + LANE_GAP
    edges: dict[str, tuple[float, float]] = {}
    drawn: list[Html] = []
    for name, lines in lanes.items():
        rows = 1 + max((line.row for line in lines), default=0)
        height = rows * ROW + 8
        drawn.append(_lane(name, below, height, facts, lines))
        drawn += [_group(line, below + 4, scale, facts, colours) for line in lines]
        edges[name] = (below, below + height)
        below += height + LANE_GAP
    height = below + 8
    parts = [
        _axis(scale, height),
        *(
            _step(step, 26 + STEP_ROW * i, scale, facts, colours, height)
            for i, step in enumerate(facts.steps)
        ),
        *drawn,
        _flights(facts, scale, edges),
    ]
    return el(
        "svg",
        _definitions(),
        *parts,
        class_="timeline",
        viewBox=f"0 0 {WIDTH} {height:.0f}",
        role="img",
        aria_label="Timeline of the campaign's steps and of the jobs at each facility",
    )


def _definitions() -> Html:
    """The hatching of movements and the tip of an arrow."""
    line = el("line", x1=0, y1=0, x2=0, y2=5, stroke="var(--paper)", stroke_width=2.6)
    hatching = el(
        "pattern",
        line,
        id="moving",
        width=5,
        height=5,
        patternUnits="userSpaceOnUse",
        patternTransform="rotate(45)",
    )
    tip = el(
        "marker",
        el("path", d="M0 0L7 3.5L0 7z", fill="var(--ink)"),
        id="tip",
        markerWidth=7,
        markerHeight=7,
        refX=6.5,
        refY=3.5,
        orient="auto",
    )
    return el("defs", hatching, tip)


def _axis(scale: _Scale, height: float) -> Html:
    ticks = []
    step = words.span(scale.length)
    for after in range(0, int(scale.length) + 1, step):
        x = scale(scale.start + after)
        ticks.append(el("line", x1=x, y1=18, x2=x, y2=height, class_="grid"))
        ticks.append(el("text", words.elapsed(after), x=x, y=12, class_="tick"))
    return el("g", *ticks)


def _step(
    step: step_pb2.Step,
    y: float,
    scale: _Scale,
    facts: Facts,
    colours: dict[str, str],
    height: float,
) -> Html:
    name = parse_name(step.name).parts[1]
    state = step_pb2.Step.State.Name(step.state).removeprefix("STATE_")
    parts = [el("text", name, x=LEFT - 10, y=y + 11, class_="label")]
    start, end = words.seconds(step.start_time), words.seconds(step.finish_time)
    if start is None:
        return el("g", *parts)
    until = end or facts.ended
    took = words.duration(until - start)
    title = el(
        "title", f"step {name}: {state}, {words.clock(start)} to {words.clock(until)} UTC, {took}"
    )
    left, right = scale(start), scale(until)
    if step.breakpoint:
        note = f"signed by {step.signed_by}" if step.signed_by else "waits for a signature"
        x, centre = right, y + 7
        diamond = (
            f"M{x:.1f} {centre - 6}L{x + 6:.1f} {centre}L{x:.1f} {centre + 6}L{x - 6:.1f} {centre}z"
        )
        parts += [
            el("line", x1=x, y1=centre, x2=x, y2=height, class_="signature"),
            el("path", title, d=diamond, fill=colours[name]),
            _beside(note, left, right + 6, y),
        ]
        return el("g", *parts)
    bar = el(
        "rect",
        title,
        x=left,
        y=y + 2,
        width=max(1.5, right - left),
        height=10,
        rx=2,
        fill=colours[name],
    )
    return el("g", *parts, bar, _beside(took, left, right, y))


def _beside(note: str, left: float, right: float, y: float) -> Html:
    """A note after a bar, or before it where there is no room after it."""
    if right + 7 * len(note) < WIDTH:
        return el("text", note, x=right + 6, y=y + 11, class_="note")
    return el("text", note, x=left - 6, y=y + 11, class_="note before")


def _lines(facts: Facts, facility: str) -> list[_Line]:
    """The lines of a facility, each with the first row that is free."""
    by_group: dict[tuple[str, str], _Line] = defaultdict(_Line)
    for each in facts.attempts:
        if each.facility == facility and each.started is not None:
            by_group[each.step, each.group].attempts.append(each)
    for line in by_group.values():
        line.attempts.sort(key=lambda each: each.started or 0.0)
        line.start = line.attempts[0].started or 0.0
        line.end = max(each.ended or facts.ended for each in line.attempts)
    lines = sorted(by_group.values(), key=lambda line: line.start)
    free: list[float] = []
    for line in lines:
        line.row = next((i for i, at in enumerate(free) if at <= line.start), len(free))
        free[line.row : line.row + 1] = [line.end]
    return lines


def _lane(name: str, y: float, height: float, facts: Facts, lines: list[_Line]) -> Html:
    slots = next((f.slots for f in facts.facilities if f.name.endswith(f"/{name}")), 0)
    about = words.counted(len(lines), "group") + (
        f", {words.counted(slots, 'slot')}" if slots else ""
    )
    return el(
        "g",
        el(
            "rect",
            x=LEFT - 4,
            y=y,
            width=WIDTH - LEFT - RIGHT + 8,
            height=height,
            rx=3,
            class_="lane",
        ),
        el("text", name, x=LEFT - 12, y=y + height / 2, class_="label strong"),
        el("text", about, x=LEFT - 12, y=y + height / 2 + 13, class_="label small"),
    )


def _group(line: _Line, top: float, scale: _Scale, facts: Facts, colours: dict[str, str]) -> Html:
    y = top + line.row * ROW + (ROW - BAR) / 2
    middle = y + BAR / 2
    thread = el(
        "line", x1=scale(line.start), y1=middle, x2=scale(line.end), y2=middle, class_="thread"
    )
    return el("g", thread, *(_bar(each, y, scale, facts, colours) for each in line.attempts))


def _bar(each: JobAttempt, y: float, scale: _Scale, facts: Facts, colours: dict[str, str]) -> Html:
    start, end = each.started or facts.started, each.ended or facts.ended
    left, width = scale(start), max(1.2, scale(end) - scale(start))
    state = each.attempt.state
    again = f", attempt {each.attempt.number}" if each.attempt.number > 1 else ""
    words_of_it = (
        f"{each.title}{again} at {each.facility}: {state}\n"
        f"{each.job.kind}, {words.clock(start)} UTC, {words.duration(end - start)}\n{each.attempt.message}"
    )
    style = "moves" if each.moves else STYLES.get(each.job.kind, "process")
    bad = state not in ("SUCCEEDED", "RUNNING", "SUBMITTING")
    shape = {"x": left, "y": y, "width": width, "height": BAR, "rx": 1.5}
    colour = colours[each.step]
    parts = [el("rect", **shape, fill=colour, stroke=colour, class_=f"bar {style}")]
    if each.moves:
        parts.append(el("rect", **shape, fill="url(#moving)"))
    if bad:
        parts.append(el("rect", **shape, class_="bad"))
    return el("g", el("title", words_of_it.strip()), *parts)


def _flights(facts: Facts, scale: _Scale, lanes: dict[str, tuple[float, float]]) -> Html:
    """An arrow from lane to lane for each transfer that brought something."""
    arrows = []
    for each in facts.attempts:
        if each.job.kind != "transfer" or each.started is None:
            continue
        brought: dict[tuple[str, str], tuple[int, int]] = {}
        for entry in each.books:
            way = _lane_of(entry.get("source"), lanes), _lane_of(entry.get("destination"), lanes)
            files, size = brought.get(way, (0, 0))
            brought[way] = files + int(entry.get("arrived", 0)), size + int(entry.get("bytes", 0))
        for (source, destination), (files, size) in brought.items():
            if not files or source == destination or not (source and destination):
                continue
            start, end = scale(each.started), scale(each.ended or facts.ended)
            # From the edge of one lane to the edge of the other, upright at both ends.
            (high, low), (top, bottom) = lanes[source], lanes[destination]
            leave, land = (low, top) if high < top else (high, bottom)
            bend = (leave + land) / 2
            curve = f"C{start:.1f} {bend:.1f} {end:.1f} {bend:.1f} {end:.1f} {land:.1f}"
            path = f"M{start:.1f} {leave:.1f}{curve}"
            title = (
                f"{each.title}: {source} → {destination}, "
                f"{words.counted(files, 'file')}, {words.size(size)}"
            )
            arrows.append(
                el(
                    "path",
                    el("title", title),
                    d=path,
                    class_="flight",
                    marker_end="url(#tip)",
                )
            )
    return el("g", *arrows)


def _lane_of(place: object, lanes: dict[str, tuple[float, float]]) -> str:
    """The facility of a place: itself, or that of a storage element, whose name begins with its
    facility's as is usual in Rucio (USDF_TAPE); "" if it has none."""
    name = str(place)
    return next((each for each in (name, name.partition("_")[0]) if each in lanes), "")


def legend() -> Html:
    """What the looks of the bars mean."""
    box = {"x": 0.5, "y": 1.5, "width": 21, "height": 9, "rx": 1.5}

    def key(name: str, *shapes: Html) -> Html:
        return el("span", el("svg", *shapes, width=22, height=12, viewBox="0 0 22 12"), name)

    colour = {"fill": "var(--soft)", "stroke": "var(--soft)"}
    return el(
        "p",
        key("process", el("rect", **box, **colour, class_="bar process")),
        key("script", el("rect", **box, **colour, class_="bar script")),
        key("collect", el("rect", **box, **colour, class_="bar collect")),
        key(
            "data movement, purge",
            el("rect", **box, **colour, class_="bar moves"),
            el("rect", **box, fill="url(#moving)"),
        ),
        key(
            "failed attempt",
            el("rect", **box, **colour, class_="bar process"),
            el("rect", **box, class_="bad"),
        ),
        key(
            "transfer between facilities",
            el("path", d="M0 2C11 2 11 10 20 10", class_="flight", marker_end="url(#tip)"),
        ),
        key("group waits", el("line", x1=0, y1=6, x2=22, y2=6, class_="thread")),
        class_="legend",
    )
