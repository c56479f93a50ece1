"""Making a movement's manifest: what the sources have, and what each destination is to get.

A dataset that several sources hold, which is so once it has been moved, counts for the first of
them alone. A stage brings what is not local, once for each data id. With `by`, datasets whose value
of that dimension the receiving Butler does not hold are left out: a Butler takes in no dataset of a
visit it does not know.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cmd_daemon.hooks import DriverError, ErrorClass
from cmd_local.moving.asking import Butlers
from cmd_local.moving.manifest import Item, Link, Manifest
from cmd_local.moving.orders import Movement


async def make_manifest(movement: Movement, butlers: Butlers) -> Manifest:
    """Ask the sources what there is. Raises DriverError if one of them cannot be asked."""
    order = movement.order
    manifest = Manifest(
        movement.manifest_id(), order.campaign, order.step, order.group, movement.name
    )
    to_tape = movement.name == "archive"
    seen: set[str] = set()
    local = await _local(movement, butlers)
    for source in movement.sources:
        butlers.check(source)
        found = Link(source, source)
        for collection in await _searched(movement, butlers, source):
            for told in await butlers.listed(
                source, (collection,), movement.datasets, movement.where
            ):
                data = _data_of(told)
                wanted = told["type"] not in movement.without
                if wanted and told["uuid"] not in seen and data not in local:
                    seen.add(told["uuid"])
                    found.items.append(Item(**told))
                    if movement.name == "stage":  # what is of the same data is needed once
                        local.add(data)
        if not found.items:
            continue
        moves = any(destination != source for destination in movement.destinations)
        async for types in butlers.describe(source, found.items, checksum=moves):
            found.types.update(types)
        found.chains = {} if to_tape else await chains_of(movement, butlers, found)
        for destination in movement.destinations:
            if not to_tape:
                butlers.check(destination)
            items = [replace(item) for item in found.items]
            link = Link(source, destination, items, found.types, found.chains)
            if movement.by is not None and not link.stays:
                await _leave_out(movement.by, butlers, link)
            manifest.links.append(link)
    return manifest


async def _local(movement: Movement, butlers: Butlers) -> set[str]:
    """What a stage need not bring: the data that the group's own facility finds already. It is asked
    for all of them, since it may not know the regions that the group's data query names."""
    if movement.name != "stage":
        return set()
    found = await butlers.listed(movement.facility, movement.collections, movement.datasets)
    return {_data_of(told) for told in found}


def _data_of(told: Mapping[str, Any]) -> str:
    """What a dataset is of, whoever made it: its type and data id."""
    return json.dumps([told["type"], told["data_id"]], sort_keys=True)


async def _searched(movement: Movement, butlers: Butlers, source: str) -> list[str]:
    """The collections to be searched at a source, each alone.

    In a group's chain the newest attempt's dataset wins. A step's chain is searched group by group:
    groups that made the same data id do not hide each other, whoever's came first.
    """
    infos = await butlers.existing(source, movement.collections)
    searched: dict[str, None] = {}
    for name, info in infos.items():
        children = await butlers.existing(source, list(info["children"]))
        if children and all(child["type"] == "CHAINED" for child in children.values()):
            searched.update(dict.fromkeys(children))
        else:
            searched[name] = None
    return list(searched)


async def _leave_out(dimension: str, butlers: Butlers, link: Link) -> None:
    """Mark what the destination does not hold the dimension's value of."""
    data_ids = [item.data_id for item in link.items]
    for item, known in zip(
        link.items, await butlers.known(link.destination, dimension, data_ids), strict=True
    ):
        item.left_out = not known


async def chains_of(movement: Movement, butlers: Butlers, link: Link) -> dict[str, list[str]]:
    """The source's chains that lead from the campaign's collection (for a stage, from those that were
    searched) to the datasets' runs, the nearest to the runs first; children without any of these
    datasets are not named."""
    runs = {item.run for item in link.items}
    tree: dict[str, list[str]] = {}
    staging = movement.name == "stage"
    roots = list(movement.collections) if staging else [movement.campaign_chain]
    ahead = list(roots)
    while ahead:
        infos = await butlers.existing(link.source, ahead)
        ahead = []
        for name, info in infos.items():
            tree[name] = list(info["children"])
            ahead += [child for child in info["children"] if child not in tree]
    leading: dict[str, list[str]] = {}

    def leads(name: str, above: frozenset[str]) -> bool:
        if name in runs:
            return True
        if name in leading:
            return True
        if name in above:  # Butler forbids such a circle, but it is not ours to trust
            return False
        children = [c for c in tree.get(name, []) if leads(c, above | {name})]
        if children:
            leading[name] = children
        return bool(children)

    for root in roots:
        leads(root, frozenset())
    inside = movement.campaign_chain
    return {
        name: children
        for name, children in leading.items()
        if staging or name == inside or name.startswith(f"{inside}/")
    }


def nothing(movement: Movement) -> str:
    """In words: what was looked for and is not there."""
    if not movement.destinations:
        return f"{movement.group}: nothing to {movement.name}: the campaign has no other facility"
    types = ", ".join(movement.datasets) if movement.datasets is not None else "any type"
    return (
        f"{movement.group}: nothing to {movement.name}: no dataset of {types} in "
        f"{', '.join(movement.collections) or 'no collection'} at {', '.join(movement.sources)}"
    )


def tape_only(movement: Movement) -> DriverError:
    """The error of an archive job whose tape element nobody has."""
    return DriverError(
        ErrorClass.PERMANENT,
        f"{movement.group}: no facility of the campaign ({', '.join(movement.facilities)}) has the "
        f"tape element '{movement.rse}': name its directory in the facility's section mover.tape",
    )
