"""The graph of a campaign's steps, laid out from left to right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

NARROW, WIDE = 124, 200
"""Widths of a node, as its longest name needs."""
PER_LETTER = 7.4
BESIDE = 46
HEIGHT = 74
GAP = 32
BETWEEN = 14
THROUGH = 10
"""Height of the place that an edge takes in a layer it passes through."""


@dataclass(frozen=True, slots=True)
class Node:
    """One step; upper left corner in pixels."""

    name: str
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Edge:
    """One `after:`, as an SVG path."""

    source: str
    target: str
    path: str


@dataclass(frozen=True, slots=True)
class Graph:
    """The drawing and its size."""

    nodes: list[Node]
    edges: list[Edge]
    width: int
    height: int
    node_width: int
    node_height: int = HEIGHT


def layout(after: Mapping[str, Sequence[str]]) -> Graph:
    """Steps with the steps they come after, in the order of the file. Steps that come after unknown
    ones, or after themselves, are drawn as if they did not."""
    names = list(after)
    longest = max(map(len, names), default=0)
    node_width = round(min(WIDE, max(NARROW, longest * PER_LETTER + BESIDE)))
    before = {name: [a for a in dict.fromkeys(after[name]) if a in after] for name in names}
    layer = _layers(names, before)
    chains = {
        (a, name): [a, *(f"{a}>{name}>{at}" for at in range(layer[a] + 1, layer[name])), name]
        for name in names
        for a in before[name]
        if layer[a] < layer[name]
    }
    columns: list[list[str]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for name in names:
        columns[layer[name]].append(name)
    for (a, _), chain in chains.items():
        for place, passing in enumerate(chain[1:-1], layer[a] + 1):
            columns[place].append(passing)
    _untangle(columns, [pair for chain in chains.values() for pair in pairwise(chain)])
    heights = [sum(_height(each, after) + BETWEEN for each in column) for column in columns]
    whole = max(heights, default=0)
    places: dict[str, tuple[int, int]] = {}
    for at, column in enumerate(columns):
        y = (whole - heights[at]) // 2
        for each in column:
            places[each] = (at * (node_width + GAP), y)
            y += _height(each, after) + BETWEEN
    return Graph(
        nodes=[Node(name, *places[name]) for name in names],
        edges=[
            Edge(a, name, _path(chain, places, after, node_width))
            for (a, name), chain in chains.items()
        ],
        width=max(0, len(columns) * (node_width + GAP) - GAP),
        height=max(0, whole - BETWEEN),
        node_width=node_width,
    )


def _layers(names: Sequence[str], before: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """How many steps the longest way to each has; a circle is cut where it closes."""
    layer: dict[str, int] = {}

    def of(name: str, on_the_way: frozenset[str]) -> int:
        if name not in layer:
            way = on_the_way | {name}
            layer[name] = max((of(a, way) + 1 for a in before[name] if a not in way), default=0)
        return layer[name]

    for name in names:
        of(name, frozenset())
    return layer


def _untangle(columns: list[list[str]], links: Sequence[tuple[str, str]]) -> None:
    """Order each column by the middle of what it is linked to, from left to right and back."""
    sources: dict[str, list[str]] = {}
    targets: dict[str, list[str]] = {}
    for a, b in links:
        targets.setdefault(a, []).append(b)
        sources.setdefault(b, []).append(a)
    for sweep in range(4):
        neighbours = sources if sweep % 2 == 0 else targets
        for column in columns if sweep % 2 == 0 else reversed(columns):
            place = {each: at for other in columns for at, each in enumerate(other)}
            now = {each: at for at, each in enumerate(column)}

            def middle(
                each: str, place: dict[str, int] = place, now: dict[str, int] = now
            ) -> float:
                linked = neighbours.get(each)  # noqa: B023
                return sum(place[a] for a in linked) / len(linked) if linked else now[each]

            column.sort(key=middle)


def _height(each: str, after: Mapping[str, Sequence[str]]) -> int:
    return HEIGHT if each in after else THROUGH


def _path(
    chain: Sequence[str],
    places: Mapping[str, tuple[int, int]],
    after: Mapping[str, Sequence[str]],
    width: int,
) -> str:
    middle = {each: places[each][1] + _height(each, after) / 2 for each in chain}
    x, y = places[chain[0]][0] + width, middle[chain[0]]
    words = [f"M{x} {y:g}"]
    for each in chain[1:]:
        to_x, to_y = places[each][0], middle[each]
        words.append(f"C{(x + to_x) / 2:g} {y:g} {(x + to_x) / 2:g} {to_y:g} {to_x} {to_y:g}")
        x, y = to_x, to_y
        if each not in after:
            x += width
            words.append(f"H{x}")
    return "".join(words)
