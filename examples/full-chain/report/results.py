"""The sections of the report that show what came out: calibration and coadd."""

import re
from collections.abc import Mapping
from math import log10
from typing import Any

import plots
import words
from markup import Html, el, join
from parts import section
from reading import Facts

from cm_client import parse_name, short_name

_VISITS = re.compile(r"\bvisit\s*(?:=|in)\s*(\(?[\d\s,.:]+\)?)", re.IGNORECASE)
_PART = re.compile(r"(\d+)(?:\s*\.\.\s*(\d+)(?:\s*:\s*(\d+))?)?")


def visits_of(where: str) -> set[int]:
    """The visits that a data query names by number: `visit = 3`, `visit IN (1, 4..9, 10..20:2)`."""
    found: set[int] = set()
    for numbers in _VISITS.findall(where):
        for first, last, step in _PART.findall(numbers):
            found.update(range(int(first), int(last or first) + 1, int(step or 1)))
    return found


def visit_places(facts: Facts) -> dict[int, str]:
    """The facilities that calibrated each visit, such as "USDF" or "FrDF + UKDF": those of the first
    step whose groups name visits."""
    for step in facts.step_names:
        places: dict[int, set[str]] = {}
        for group in facts.groups:
            if group.facility and parse_name(group.name).parts[1] == step:
                for visit in visits_of(group.where):
                    places.setdefault(visit, set()).add(short_name(group.facility))
        if places:
            order = facts.facility_names
            return {
                visit: " + ".join(sorted(names, key=order.index)) for visit, names in places.items()
            }
    return {}


def calibration(facts: Facts, pictures: Mapping[str, Any], colours: Mapping[str, str]) -> Html:
    """The residuals of the global calibration."""
    found = pictures.get("calibration")
    if not found:
        return section("calibration", "Global calibration", _missing(pictures, "calibration"))
    where = visit_places(facts)
    shades = dict(colours)
    for place in dict.fromkeys(where.values()):
        shades.setdefault(place, "var(--soft)")
    used = [place for place in shades if place in set(where.values())]
    order = list(shades)
    keys = [
        el(
            "span",
            el(
                "svg",
                plots.mark(order.index(place), 7, 7, shades[place]),
                width=14,
                height=14,
                viewBox="0 0 14 14",
            ),
            place,
        )
        for place in used
    ]
    keys += [
        el("span", el("i", "", class_=f"band {name}"), f"{sigmas} of the fit")
        for sigmas, name in (("±1σ", "one"), ("±2σ", "two"))
    ]
    number = len(found["visits"])
    caption = (
        f"Zero points of {number} visits, fitted at once over all facilities, minus the truth of the "
        f"simulated sky. The common offset, {words.signed(1000 * found['offset'])} mmag, is taken off: stars "
        f"alone cannot fix it. rms {1000 * found['rms']:.2f} mmag, χ²/dof {found['chi2_per_dof']:.2f} with "
        "the whole covariance of the fit."
    )
    if found.get("missing"):
        caption += f" No zero point: {', '.join(map(str, found['missing']))}."
    calibrated = "Marks show where a visit was calibrated." if used else ""
    return section(
        "calibration",
        "Global calibration against the truth",
        el(
            "figure",
            el("div", plots.residuals(found["visits"], where, shades), class_="wide"),
            el("p", *keys, class_="legend"),
            el("figcaption", f"{caption} {calibrated}"),
        ),
    )


def coadd(pictures: Mapping[str, Any]) -> Html:
    """One patch in one exposure and in the coadd, and the noise of both."""
    found = pictures.get("coadd")
    if not found:
        return section("coadd", "One coadd", _missing(pictures, "coadd"))
    single, deep = found["images"]
    stretch = found["stretch"]
    pixel = float(found["pixel_arcsec"])
    shown = [
        _picture(
            single,
            pixel,
            f"Visit {single['visit']}: one exposure, noise {single['noise']:.1f} counts.",
        ),
        _picture(
            deep, pixel, f"Coadd of {deep['depth']} exposures, noise {deep['noise']:.1f} counts."
        ),
    ]
    spread = el(
        "figure",
        plots.noise(found["histogram"]),
        el(
            "figcaption",
            "Pixels of the blank sky: ",
            el("i", "", class_="spread exposure"),
            "exposure, ",
            el("i", "", class_="spread coadd"),
            f"coadd. {deep['gain']:.2f} times less noise, "
            f"{_magnitudes(deep['gain'])} magnitudes deeper; √{deep['depth']} is {deep['depth'] ** 0.5:.2f} "
            "for exposures of equal quality.",
        ),
    )
    words_of_it = (
        f"Tract {found['tract']}, patch {found['patch']}, north up. Both have the zero point "
        f"{found['zero_point']:g} and the same asinh stretch, from {words.signed(stretch['black'], 0)} to "
        f"{stretch['white']:g} times the exposure's noise."
    )
    return section(
        "coadd", "One coadd", el("p", words_of_it), el("div", *shown, spread, class_="pictures")
    )


def _magnitudes(gain: float) -> str:
    return f"{2.5 * log10(gain):.2f}"


def _picture(image: Mapping[str, Any], pixel: float, caption: str) -> Html:
    """A picture with a bar that shows half an arc minute (or less in a small picture)."""
    wide, high = int(image["width"]), int(image["height"])
    length = next(n for n in (60, 30, 10, 5, 1) if n / pixel < wide / 3 or n == 1)
    unit = wide / 256
    left, below = wide - length / pixel - 8 * unit, high - 9 * unit
    bar = join(
        [
            el(
                "line",
                x1=left,
                y1=below,
                x2=wide - 8 * unit,
                y2=below,
                class_="ruler",
                stroke_width=2 * unit,
            ),
            el(
                "text",
                f"{length}″",
                x=(left + wide - 8 * unit) / 2,
                y=below - 5 * unit,
                class_="ruler",
                style=f"font-size:{11 * unit:.1f}px",
            ),
        ]
    )
    drawn = el(
        "svg",
        el(
            "image",
            href=f"data:image/png;base64,{image['png']}",
            width=wide,
            height=high,
            class_="pixels",
        ),
        bar,
        viewBox=f"0 0 {wide} {high}",
        role="img",
        aria_label=caption,
    )
    return el("figure", drawn, el("figcaption", caption))


def _missing(pictures: Mapping[str, Any], name: str) -> Html:
    said = [each for each in pictures.get("missing", []) if each.startswith(f"{name}:")]
    why = said[0].partition(": ")[2] if said else "no pictures were made for this report"
    return el("p", f"Not shown: {why}.")
