"""Data that follow sky regions: each visit is processed where the tracts it lies on were placed.

A visit that lies on tracts of two facilities is processed at both, so that no intermediate ever has
to move; at each of them it belongs to one tract only, the lowest that was placed there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cmd_daemon.hooks import DataShare, DriverError, ErrorClass
from cmd_local.splitting import Value, Values, grouped, name_of, order_of, where_of

LISTED = 10
"""Regions named in a message."""


def shares_within(
    *,
    step: str,
    by: Sequence[str],
    within: str,
    names: Sequence[str],
    rows: Sequence[Sequence[Value]],
    counted: Sequence[str],
    regions: Mapping[str, str],
    size: int | None = None,
    count: int | None = None,
    max_quanta: int | None = None,
) -> list[DataShare]:
    """The shares of the values of `by` that lie on placed regions of the dimension `within`.

    `rows` are data ids with the dimensions `names`; `counted` are those over which a group's data ids are
    counted. `regions` says where each region was placed (`tract/3` -> facility). `size`, `count` and
    `max_quanta` hold inside each region; without any a region is one group. A group is named `3`
    if it is the only one of its region, else `3-0001`; its query names the values of `by` alone: one
    that named the tract would cut visits into parts. Values that lie on no placed region are not
    the campaign's and are left out. Raises DriverError PERMANENT if no region found has a place.
    """
    placed = _placed(within, regions)
    region_at = names.index(within)
    by_at = [names.index(name) for name in by]
    counted_at = [names.index(name) for name in counted]
    found: dict[Values, dict[str, Value]] = {}
    weights: dict[Values, set[Values]] = {}
    lie_on: set[Value] = set()
    for row in rows:
        region, member = row[region_at], tuple(row[place] for place in by_at)
        lie_on.add(region)
        facility = placed.get(str(region))
        if facility is None:
            continue
        homes = found.setdefault(member, {})
        homes[facility] = min(homes.get(facility, region), region, key=order_of)
        weights.setdefault(member, set()).add(tuple(row[place] for place in counted_at))
    if rows and not found:
        raise DriverError(ErrorClass.PERMANENT, _no_place(step, within, lie_on, placed))
    members: dict[Value, list[Values]] = {}
    for member in sorted(found, key=lambda each: [order_of(value) for value in each]):
        for region in found[member].values():
            members.setdefault(region, []).append(member)
    shares = []
    for region in sorted(members, key=order_of):
        own = members[region]
        sizes = [len(weights[member]) for member in own]
        if size is count is max_quanta is None:
            groups: list[Sequence[Values]] = [own]
        else:
            groups = grouped(own, size=size, count=count, weights=sizes, max_weight=max_quanta)
        plain = name_of((region,))
        for number, group in enumerate(groups, 1):
            values = {name: [each[place] for each in group] for place, name in enumerate(by)}
            shares.append(
                DataShare(
                    name=plain if len(groups) == 1 else f"{plain}-{number:04d}",
                    where=where_of(by, group),
                    region=f"{within}/{region}",
                    size=sum(len(weights[member]) for member in group),
                    data={"values": values},
                )
            )
    return shares


def one_of_each(step: str, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Raises DriverError PERMANENT if the rows have several values of one of these dimensions: then a
    tract's or a visit's number alone says nothing."""
    for place, name in enumerate(names):
        values = {row[place] for row in rows}
        if len(values) > 1:
            raise DriverError(
                ErrorClass.PERMANENT,
                f"step {step}: the data query matches several values of {name} "
                f"({', '.join(sorted(map(str, values))[:LISTED])}); name one of them in 'where'",
            )


def _placed(within: str, regions: Mapping[str, str]) -> dict[str, str]:
    """The facility of each placed region of a dimension, by the region's value as text."""
    start = f"{within}/"
    return {
        region.removeprefix(start): facility
        for region, facility in regions.items()
        if region.startswith(start)
    }


def _no_place(step: str, within: str, lie_on: set[Value], placed: Mapping[str, str]) -> str:
    there = f"the placed ones are {_listed(placed)}" if placed else "none has been placed"
    return (
        f"step {step}: its data lie on {within} {_listed(sorted(lie_on, key=order_of))}, of which none "
        f"has a place ({there}); a step split by {within}, one a group, must come before it"
    )


def _listed(values: Sequence[Value] | Mapping[str, str]) -> str:
    names = [str(value) for value in values]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{', '.join(names[:LISTED])}{more}"
