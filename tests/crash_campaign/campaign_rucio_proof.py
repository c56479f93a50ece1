"""The proof of a round with a Rucio: by its own books, the Butlers' and the disks', everything that was made
is where it should be, once, and there is nothing else."""

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaign_rucio_pilot import MOVED
from live_setup import DISK

Told = Mapping[str, Any]


@dataclass(frozen=True)
class Moved:
    """What one movement of a campaign has to bring: the name of its dataset in Rucio, its source and
    destination, and the UUIDs with what is in each dataset."""

    name: str
    source: str
    destination: str
    contents: Mapping[str, str]


def movements(campaign: str, made: Iterable[Told]) -> list[Moved]:
    """What the movements of a campaign have to bring of all that was made for it."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for each in made:
        if each["campaign"] != campaign:
            continue
        for kind, destination, visits in MOVED[each["type"]]:
            if visits and each["visit"] not in visits:
                continue
            step, group = (each["step"], each["group"]) if kind != "gather" else ("fit", "all")
            way = f"{step}/{group}/{each['facility']}/{kind}"
            contents = found.setdefault((way, each["facility"], destination), {})
            contents[each["uuid"]] = content_of(each)
    return [
        Moved(f"Dataset/{campaign}/{way}", source, destination, contents)
        for (way, source, destination), contents in sorted(found.items())
    ]


def content_of(each: Told) -> str:
    """What `campaign_butlers.make` has written into a dataset."""
    return f"{each['campaign']} {each['step']} {each['group']} {each['type']} {each['visit']}"


def problems_in_rucio(
    campaign: str, wanted: Sequence[Moved], told: Told, roots: Mapping[str, Path]
) -> list[str]:
    """What is wrong in Rucio's books of a campaign, in words. `roots` are the directories of the RSEs'
    files."""
    problems = []
    datasets = {each["name"]: each for each in told["datasets"]}
    names = {each.name for each in wanted}
    problems += [f"{name}: nobody's dataset" for name in sorted(datasets.keys() - names)]
    problems += [f"{name}: no such dataset" for name in sorted(names - datasets.keys())]
    if told["rules"] != len(names):
        problems.append(f"{campaign}: {told['rules']} rules for {len(names)} movements")
    if told["former rules"]:
        problems.append(f"{campaign}: {told['former rules']} rules were made and deleted")
    files: set[str] = set()
    brought: Counter[tuple[str, str]] = Counter()
    for movement in wanted:
        dataset = datasets.get(movement.name)
        if dataset is None:
            continue
        files.update(each["name"] for each in dataset["files"])
        brought.update((each["name"], movement.destination) for each in dataset["files"])
        rse = DISK[movement.destination]
        rules = [(rule["rse"], rule["state"], rule["ok"]) for rule in dataset["rules"]]
        if dataset["open"] or rules != [(rse, "OK", len(dataset["files"]))]:
            problems.append(f"{movement.name}: open {dataset['open']}, rules {rules}")
        uuids: Counter[str] = Counter()
        for file in dataset["files"]:
            problems += _misplaced(movement, file, roots)
            uuids.update(file["uuids"])
        for word, differing in (
            ("lacks", movement.contents.keys() - uuids.keys()),
            ("has of others", uuids.keys() - movement.contents.keys()),
            ("has twice", {uuid for uuid, n in uuids.items() if n > 1}),
        ):
            if differing:
                problems.append(f"{movement.name}: {word} {sorted(differing)}")
    problems += [
        f"{campaign}: {name} is brought twice to {facility}"
        for (name, facility), n in brought.items()
        if n > 1
    ]
    if strangers := sorted(set(told["files"]) ^ files):
        problems.append(f"{campaign}: files of no dataset, or of nobody: {strangers}")
    if strangers := sorted(set(told["zips on disk"]) - files):
        problems.append(f"{campaign}: zips that Rucio does not know: {strangers}")
    return problems


def _misplaced(movement: Moved, file: Told, roots: Mapping[str, Path]) -> list[str]:
    """Where a file is not, or has other bytes than Rucio says."""
    rses = sorted({DISK[movement.source], DISK[movement.destination]})
    # What was scattered to two facilities lies at all three.
    if not set(rses) <= set(file["at"]):
        return [f"{file['name']}: Rucio has it at {file['states']}, not at {rses}"]
    problems = []
    for rse in file["at"]:
        try:
            content = (roots[rse] / file["name"]).read_bytes()
        except OSError as error:
            problems.append(f"{file['name']} at {rse}: {error}")
            continue
        if (len(content), zlib.adler32(content)) != (file["size"], int(file["adler32"], 16)):
            problems.append(f"{file['name']} at {rse}: it has other bytes than in Rucio")
    return problems


def problems_in_butlers(
    campaign: str, made: Iterable[Told], wanted: Sequence[Moved], told: Mapping[str, Told]
) -> list[str]:
    """What is wrong in the Butlers' books of a campaign, in words: each has what was made there and what was
    moved there, once, and its collections lead to it."""
    problems = []
    for facility, books in told.items():
        due = {
            each["uuid"]: content_of(each)
            for each in made
            if each["campaign"] == campaign and each["facility"] == facility
        }
        for movement in wanted:
            if movement.destination == facility:
                due.update(movement.contents)
        held = [each for each in books["datasets"] if each["campaign"] == campaign]
        there = Counter(each["uuid"] for each in held)
        for word, differing in (
            ("lacks", due.keys() - there.keys()),
            ("has nobody's", there.keys() - due.keys()),
            ("has twice", {uuid for uuid, n in there.items() if n > 1}),
            ("does not find", due.keys() - set(books["found"])),
        ):
            if differing:
                problems.append(f"{campaign}: {facility} {word} {sorted(differing)}")
        for each in held:
            if each["content"] != due.get(each["uuid"], each["content"]):
                problems.append(f"{facility}: {each['uuid']} of {each['run']}: {each['content']}")
    return problems


def problems_in_nexus(
    campaign: str, wanted: Sequence[Moved], entries: Iterable[Told], types: Mapping[str, str]
) -> list[str]:
    """What is wrong in the daemon's own books. `entries` are the sums of the campaign's steps, `types` the
    dataset type of each UUID."""
    due: Counter[tuple[str, str, str, str, str]] = Counter()
    for movement in wanted:
        _, _, step, _, _, kind = movement.name.split("/")
        for uuid in movement.contents:
            way = (movement.source, movement.destination)
            due[step, kind.partition("-")[0], *way, types[uuid]] += 1
    problems = []
    for each in entries:
        key = tuple(each[name] for name in ("step", "movement", "source", "destination", "type"))
        count = due.pop(key, 0)
        stages = ("registered", "sent", "rule_ok", "arrived", "ingested")
        seen = {name: each[name] for name in stages}
        seen["made"] = each["made"] - each["not_for_here"]
        if set(seen.values()) != {count} or each["gap_count"]:
            problems.append(f"{campaign}: {key}: {count} expected, {seen}")
    problems += [f"{campaign}: nothing is told of {key}" for key in due]
    return problems
