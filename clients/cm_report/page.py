"""The report as one HTML file that needs nothing else: style and pictures are in it, no script."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.resources import files

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cm_client import short_name
from cm_client import words as w
from cm_web import states
from cm_web.pictures.timeline import timeline
from cm_web.rendering import finalize, number, percent

from . import figures as f
from .reading import Report


def page(report: Report, former: Report | None = None) -> str:
    """The whole document. Every name and message in it is escaped."""
    of = f.sums(report)
    places = [(step, facility, line) for (step, facility), line in of.places.items()]
    return (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            campaign=report.campaign,
            former=former,
            figures=f.figures(report),
            differences=f.differences(report, former) if former is not None else [],
            step_times=f.step_times(report, former) if former is not None else [],
            of=of,
            steps=f.begun(report.steps, of),
            facilities=sorted(name for name in of.facilities if name),
            places=sorted(places, key=lambda each: (not each[1], each[1])),
            picture=timeline(report.activity),
            made=datetime.fromtimestamp(report.at, UTC).strftime("%Y-%m-%d %H:%M"),
            style=Markup(_text("cm_web", "static/palette.css") + _text("cm_report", "report.css")),
            sprite=Markup(_text("cm_web", "templates/sprite.html")),
        )
    )


def _text(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text(encoding="utf-8")


def _environment() -> Environment:
    env = Environment(
        loader=ChoiceLoader([PackageLoader("cm_report"), PackageLoader("cm_web")]),
        autoescape=True,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.globals.update(
        part=f.part,
        short=short_name,
        state_word=w.state_word,
        kind=states.kind,
        ordered=states.ordered,
        segments=states.segments,
        elapsed=f.elapsed,
        shown=f.shown,
        change_text=f.change_text,
        time_change=f.time_change,
        LOST=f.LOST,
    )
    env.filters.update(
        moment=w.moment,
        duration=w.duration,
        size=w.size,
        hours=f.hours,
        number=number,
        percent=percent,
    )
    return env
