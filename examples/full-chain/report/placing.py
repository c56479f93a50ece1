"""The section that tells where the regions of the sky were placed, and why."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from markup import Child, Html, cell, el, join, table
from parts import dot, section
from plots import tracts
from reading import Facts

from cm_client import parse_name, short_name
from cmd_api.v1 import group_pb2

WEIGHTS = frozenset({"share", "throughput", "locality", "network", "score"})
"""Factors of the bundled algorithms that are numbers and no filters, even where they are 1."""


def placement(facts: Facts, pictures: Mapping[str, Any], colours: Mapping[str, str]) -> Html:
    """Where regions were placed, and the factors of one decision."""
    regions: dict[str, list[group_pb2.Group]] = {}
    for group in facts.groups:
        if group.region:
            regions.setdefault(group.region, []).append(group)
    rows: list[list[Child]] = []
    placed: dict[str, str] = {}
    for region, groups in sorted(regions.items(), key=lambda item: _natural(item[0])):
        at = sorted({short_name(group.facility) for group in groups if group.facility})
        first = _decisive([p for group in groups for p in facts.placements.get(group.name, ())])
        moved = sorted({short_name(group.pinned) for group in groups if group.pinned})
        why = first.reason if first else ""
        if moved:
            why = f"moved to {', '.join(moved)} by a person; {why}"
        rows.append(
            [
                region.replace("/", " "),
                join([join([dot(colours.get(name, "var(--line)")), name]) for name in at], ", "),
                first.algorithm if first else "",
                why,
                len(groups),
            ]
        )
        if region.startswith("tract/") and at:
            placed[region.removeprefix("tract/")] = " + ".join(at)
    parts: list[Child] = []
    if pictures.get("sky"):
        depth = pictures["sky"]["depth"]
        bar = el(
            "span",
            "",
            class_="ramp",
            style=f"background:linear-gradient(90deg,{','.join(pictures['sky']['colours'])})",
        )
        parts.append(
            el(
                "figure",
                tracts(pictures["sky"], placed, colours),
                el(
                    "figcaption",
                    f"Exposures of each pixel, {depth['least']} ",
                    bar,
                    f" {depth['most']}, and the facility of each tract.",
                ),
            )
        )
    if rows:
        parts.append(table(("region", "facility", "algorithm", "why there", "groups"), rows, (4,)))
    else:
        parts.append(el("p", "No group of this campaign belongs to a region of the sky."))
    parts.append(_example(facts))
    return section("placement", "Where the tracts were placed, and why", *parts)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _decisive(placements: Iterable[group_pb2.Placement]) -> group_pb2.Placement | None:
    """The decision that looked at the most; the oldest of those."""
    return min(
        (each for each in placements if each.facility),
        key=lambda each: (-len(each.factors), each.time.ToMicroseconds()),
        default=None,
    )


def _example(facts: Facts) -> Html | None:
    """The factors of one decision as a table, one column a facility."""
    decided = {id(each): (name, each) for name, all_ in facts.placements.items() for each in all_}
    chosen = _decisive([each for _, each in decided.values()])
    if chosen is None or not chosen.factors:
        return None
    group = "/".join(parse_name(decided[id(chosen)][0]).parts[1:])
    places = list(dict.fromkeys(short_name(factor.facility) for factor in chosen.factors))
    names = list(dict.fromkeys(factor.name for factor in chosen.factors))
    found = {(short_name(f.facility), f.name): f for f in chosen.factors}
    rows: list[list[Child]] = []
    for name in names:
        filters = name not in WEIGHTS and all(
            factor.value in (0.0, 1.0) for (_, each), factor in found.items() if each == name
        )
        rows.append([name, *(_factor(found.get((place, name)), filters) for place in places)])
    heads = [
        join([place, " ✓"]) if place == short_name(chosen.facility) else place for place in places
    ]
    words_of_it = join(
        [
            "One decision as an example: ",
            el("b", group),
            f" went to {short_name(chosen.facility)} by “{chosen.algorithm}”, decided by {chosen.actor}",
            f": {chosen.reason}." if chosen.reason else ".",
        ]
    )
    return join([el("p", words_of_it), table(("factor", *heads), rows, (), "factors")])


def _factor(factor: group_pb2.PlacementFactor | None, filters: bool) -> Child:
    if factor is None:
        return cell("–", class_="about")
    if factor.detail.startswith("not judged"):
        return cell(el("small", factor.detail), class_="about")
    value = ("✓" if factor.passed else "✗") if filters else f"{factor.value:.3g}"
    detail = el("small", factor.detail) if factor.detail else None
    return cell(el("b", value), " ", detail, class_=None if factor.passed else "warn")
