"""The drawings about the data: calibration residuals, noise, and where the tracts were placed."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import words
from markup import Html, el

MARKS = 3
"""Shapes there are: circle, square, triangle."""


def residuals(
    visits: Sequence[Mapping[str, Any]],
    where: Mapping[int, str],
    colours: Mapping[str, str],
) -> Html:
    """Fitted zero point minus truth for each visit, in mmag, with the band of the fit's error.

    `where` says at which facilities a visit was calibrated, `colours` has a CSS colour for each such
    saying.
    """
    width, height, left, top, bottom = 1120, 300, 60, 12, 44
    wide = (width - left - 12) / max(1, len(visits))
    farthest = max(max(1.1 * abs(v["difference"]), 2.1 * v["error"]) for v in visits)
    largest = max(1.0, 1000 * farthest)
    tick = next(t for t in (0.5, 1, 2, 5, 10, 20, 50, 100, 500, 1e9) if largest / t <= 3.5)
    reach = ceil(largest / tick) * tick
    middle, unit = (top + height - bottom) / 2, (height - bottom - top) / 2 / reach
    parts: list[Html] = []
    for sigmas, name in ((2, "band two"), (1, "band one")):
        for i, visit in enumerate(visits):
            tall = sigmas * 1000 * visit["error"] * unit
            parts.append(
                el(
                    "rect",
                    x=left + i * wide,
                    y=middle - tall,
                    width=wide + 0.3,
                    height=2 * tall,
                    class_=name,
                )
            )
    for number in range(-int(reach / tick), int(reach / tick) + 1):
        y = middle - number * tick * unit
        parts.append(
            el("line", x1=left, y1=y, x2=width - 12, y2=y, class_="zero" if number == 0 else "grid")
        )
        parts.append(
            el(
                "text",
                words.signed(number * tick, 0 if tick >= 1 else 1),
                x=left - 8,
                y=y + 4,
                class_="tick end",
            )
        )
    every = ceil(len(visits) / 24)
    order = list(colours)
    for i, visit in enumerate(visits):
        x = left + (i + 0.5) * wide
        place = where.get(visit["visit"], "")
        off, error = 1000 * visit["difference"], 1000 * visit["error"]
        title = (
            f"visit {visit['visit']}{f' ({place})' if place else ''}: "
            f"{words.signed(off, 2)} ± {error:.2f} mmag, "
            f"{visit['stars']} measurements of stars"
        )
        shape = order.index(place) if place in order else 0
        parts.append(mark(shape, x, middle - off * unit, colours.get(place, "var(--soft)"), title))
        if i % every == 0:
            parts.append(el("text", visit["visit"], x=x, y=height - bottom + 18, class_="tick"))
    parts.append(el("text", "visit", x=(left + width) / 2, y=height - 6, class_="tick"))
    turned = f"translate(14 {middle:.0f}) rotate(-90)"
    parts.append(el("text", "fitted − true [mmag]", transform=turned, class_="tick"))
    return el(
        "svg",
        *parts,
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label="Zero point of each visit minus the truth",
    )


def mark(shape: int, x: float, y: float, colour: str, title: str = "", size: float = 5.0) -> Html:
    """A point of a plot: the shape tells as much as the colour."""
    about = el("title", title) if title else None
    if shape % MARKS == 0:
        return el("circle", about, cx=x, cy=y, r=size, fill=colour, class_="mark")
    if shape % MARKS == 1:
        edge = 1.8 * size
        return el(
            "rect",
            about,
            x=x - edge / 2,
            y=y - edge / 2,
            width=edge,
            height=edge,
            fill=colour,
            class_="mark",
        )
    high = 1.3 * size
    path = f"M{x:.1f} {y - high:.1f}L{x + high:.1f} {y + size:.1f}L{x - high:.1f} {y + size:.1f}z"
    return el("path", about, d=path, fill=colour, class_="mark")


def noise(histogram: Mapping[str, Any]) -> Html:
    """How the blank sky's pixels are spread in one exposure and in the coadd."""
    width, height, bottom = 400, 400, 46
    reach = float(histogram["reach"])
    highest = max(max(histogram["exposure"]), max(histogram["coadd"]), 1e-9)
    parts = []
    for number in (-2, -1, 0, 1, 2):
        x = width / 2 + number * (width / 2 - 22) / 2
        parts.append(el("line", x1=x, y1=8, x2=x, y2=height - bottom, class_="grid"))
        parts.append(
            el(
                "text",
                words.signed(number * reach / 2, 0),
                x=x,
                y=height - bottom + 18,
                class_="tick",
            )
        )
    for name in ("coadd", "exposure"):
        shares = histogram[name]
        wide = (width - 44) / len(shares)
        points = [f"22,{height - bottom}"]
        for i, share in enumerate(shares):
            y = height - bottom - share / highest * (height - bottom - 30)
            points += [f"{22 + i * wide:.1f},{y:.1f}", f"{22 + (i + 1) * wide:.1f},{y:.1f}"]
        points.append(f"{width - 22},{height - bottom}")
        parts.append(el("polygon", points=" ".join(points), class_=f"spread {name}"))
    parts.append(
        el("line", x1=22, y1=height - bottom, x2=width - 22, y2=height - bottom, class_="zero")
    )
    parts.append(el("text", "counts above the sky", x=width / 2, y=height - 8, class_="tick"))
    return el(
        "svg",
        *parts,
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label="Noise of the blank sky",
    )


def tracts(sky: Mapping[str, Any], placed: Mapping[str, str], colours: Mapping[str, str]) -> Html:
    """The number of exposures over the sky, and below it the facility of each tract."""
    width, tall = 1120.0, 26.0
    across, high = sky["size"]
    height = min(150.0, width * high / across)
    depth = sky["depth"]
    parts = [
        el(
            "image",
            href=f"data:image/png;base64,{depth['png']}",
            x=0,
            y=0,
            width=width,
            height=height,
            preserveAspectRatio="none",
            class_="pixels",
        )
    ]
    for tract, (low, end) in sky["tracts"].items():
        left, right = low / across * width, end / across * width
        facility = placed.get(tract, "")
        parts.append(
            el("line", x1=right, y1=0, x2=right, y2=height, class_="edge")
            if right < width
            else el("g")
        )
        parts.append(
            el(
                "rect",
                x=left + 1,
                y=height + 6,
                width=right - left - 2,
                height=tall,
                rx=3,
                fill=colours.get(facility, "var(--line)"),
            )
        )
        label = f"tract {tract}" + (f" · {facility}" if facility else "")
        parts.append(
            el("text", label, x=(left + right) / 2, y=height + 6 + tall / 2 + 5, class_="on")
        )
    return el(
        "svg",
        *parts,
        viewBox=f"0 0 {width:.0f} {height + tall + 8:.0f}",
        role="img",
        aria_label="Depth of the survey and the facility of each tract",
    )
