"""The sections about the campaign as a whole: title, counts, time, problems, how to do it again."""

import hashlib
import re
import shlex
from collections.abc import Mapping
from typing import Any

import counting
import words
from markup import Child, Html, cell, el, join, table
from parts import SHOWN_ROWS, badge, dot, folded, section
from reading import Facts
from timeline import legend, timeline

from cm_client import parse_name, short_name
from cmd_api.v1 import campaign_pb2, step_pb2


def campaign_state(facts: Facts) -> str:
    """The campaign's state."""
    return campaign_pb2.Campaign.State.Name(facts.campaign.state).removeprefix("STATE_")


def header(facts: Facts, check: Mapping[str, Any] | None) -> Html:
    """Title, who and when, and the verdict."""
    campaign = facts.campaign
    stack = re.search(r"^stack:\s*([^\s#]+)", facts.file.text, re.MULTILINE)
    about = [
        ("owner", campaign.owner),
        ("ticket", campaign.ticket),
        ("stack", stack[1].strip("\"'") if stack else ""),
        ("started", f"{words.moment(words.seconds(campaign.start_time))} UTC"),
        (
            "finished",
            f"{words.moment(facts.ended)} UTC"
            if facts.finished
            else f"not yet; read {words.moment(facts.read_at)} UTC",
        ),
        ("duration", words.duration(facts.ended - facts.started)),
    ]
    terms = [el("div", el("dt", name), el("dd", value)) for name, value in about if value]
    reason = el("p", campaign.reason, class_="lead") if campaign.reason else None
    return el(
        "header",
        el("p", "Campaign report", class_="kicker"),
        el("h1", facts.title, " ", badge(campaign_state(facts))),
        reason,
        el("dl", *terms),
        _verdict(check),
    )


def _verdict(check: Mapping[str, Any] | None) -> Html | None:
    """What the comparison with the truth said."""
    if check is None:
        return None
    ok = bool(check.get("ok"))
    lines = [
        el(
            "li",
            el("b", "✓ " if each.get("ok") else "✗ ", each.get("name", "")),
            " ",
            each.get("summary", ""),
        )
        for each in check.get("checks", [])
    ]
    says = (
        "The result agrees with the truth." if ok else "The result does not agree with the truth."
    )
    return el(
        "div", el("p", el("b", says)), el("ul", *lines), class_=f"verdict {'good' if ok else 'bad'}"
    )


def tiles(facts: Facts, pictures: Mapping[str, Any]) -> Html:
    """The figures one looks for first."""
    whole = counting.total(counting.tallies(facts).values())
    ways = counting.ways(facts)
    gaps = sum(way.gaps for way in ways)
    problems = counting.problems(facts)
    waiting = sum(problem.open for problem in problems)
    failures = words.counted(whole.failed, "failed try", "failed tries") + (
        f", {words.number(whole.lost)} lost" if whole.lost else ""
    )
    shown = [
        (
            "groups accepted",
            f"{whole.accepted} / {whole.groups}",
            words.counted(len(facts.steps), "step"),
        ),
        (
            "quanta succeeded",
            f"{words.number(whole.succeeded)} / {words.number(whole.expected)}",
            failures,
        ),
        (
            "attempts of jobs",
            words.number(whole.attempts),
            words.counted(whole.retries, "retry", "retries"),
        ),
    ]
    if ways:
        away = [way for way in ways if not way.stays]
        moved = words.size(sum(way.bytes for way in away))
        files = words.counted(sum(way.files for way in away), "file")
        shown.append(("data moved", moved, f"{files}, {words.counted(gaps, 'gap')}"))
    calibration = pictures.get("calibration")
    if calibration:
        chi2 = f"χ²/dof {calibration['chi2_per_dof']:.2f}"
        shown.append(("zero points, rms", f"{1000 * calibration['rms']:.2f} mmag", chi2))
    shown.append(("problems", str(len(problems)), f"{waiting} open" if waiting else "none open"))
    return el(
        "div",
        *(
            el("div", el("span", name), el("b", value), el("small", more))
            for name, value, more in shown
        ),
        class_="tiles",
    )


def steps(facts: Facts, colours: Mapping[str, str]) -> Html:
    """Counts for each facility, then for each step and facility."""
    tallies = counting.tallies(facts)
    by_facility = [
        (name, counting.total(t for (_, facility), t in tallies.items() if facility == name))
        for name in facts.facility_names
    ]
    known = {short_name(facility.name): facility for facility in facts.facilities}
    heads = ("groups", "quanta ok", "failed", "lost", "attempts", "retries", "job time")
    facilities = []
    for name, tally in by_facility:
        there = known.get(name)
        reached = (there.transport or "local") if there else "–"
        slots = str(there.slots) if there else "–"
        facilities.append((name, reached, slots, *_numbers(tally)))
    rows: list[list[Child]] = []
    for step in facts.steps:
        short = parse_name(step.name).parts[1]
        mine = [(facility, tally) for (name, facility), tally in tallies.items() if name == short]
        state = step_pb2.Step.State.Name(step.state).removeprefix("STATE_")
        first: list[Child] = [join([dot(colours[short]), short]), badge(state)]
        if step.breakpoint:
            asked = f"breakpoint: {step.breakpoint} {_signature(facts, step)}"
            rows.append([*first, cell(asked, colspan=8, class_="about")])
            continue
        if not mine:
            rows.append([*first, cell(step.reason or "no groups yet", colspan=8, class_="about")])
        for position, (facility, tally) in enumerate(mine):
            named: list[Child] = first if position == 0 else ["", ""]
            rows.append([*named, facility or "not placed", *_numbers(tally)])
    whole = counting.total(tallies.values())
    rows.append([cell("all", class_="all"), "", "", *_numbers(whole)])
    return section(
        "steps",
        "Facilities and steps",
        table(("facility", "reached by", "slots", *heads), facilities, range(2, 10)),
        table(("step", "state", "facility", *heads), rows, range(3, 10), "totals"),
        el(
            "p",
            "“quanta ok” counts what is done after all attempts, “failed” what failed in any attempt, "
            "“job time” adds up all attempts of all jobs.",
            class_="note",
        ),
    )


def _signature(facts: Facts, step: step_pb2.Step) -> str:
    """Who signed a breakpoint, and with what words."""
    if not step.signed_by:
        return "Not signed yet."
    signed = [e for e in facts.events if e.name == step.name and e.cause == "StepSigned"]
    reason = f": “{signed[-1].reason}”" if signed and signed[-1].reason else "."
    return f"Signed by {step.signed_by}{reason}"


def _numbers(tally: counting.Tally) -> list[Child]:
    groups = (
        f"{tally.accepted} / {tally.groups}" if tally.accepted < tally.groups else str(tally.groups)
    )
    quanta = words.number(tally.succeeded)
    if tally.succeeded != tally.expected:
        quanta += f" / {words.number(tally.expected)}"
    plain = [tally.failed, tally.lost]
    return [
        groups,
        quanta,
        *(cell(words.number(n), class_="number warn") if n else "0" for n in plain),
        words.number(tally.attempts),
        words.number(tally.retries),
        words.duration(tally.busy_s),
    ]


def when(facts: Facts, colours: dict[str, str]) -> Html:
    """The timeline."""
    return section(
        "timeline",
        "Timeline",
        el(
            "p",
            f"Time since {words.moment(facts.started)} UTC. Steps above; below them the facilities, with a "
            "line for each group that worked there.",
        ),
        el("div", timeline(facts, colours), class_="wide"),
        legend(),
    )


def problems(facts: Facts) -> Html:
    """What did not go as it should, and how that ended."""
    found = counting.problems(facts)
    parts: list[Child] = []
    if found:
        rows: list[list[Child]] = [
            [
                words.clock(each.at),
                each.where,
                each.facility,
                each.what,
                cell(_first_line(each.message), class_="message"),
                cell(each.ending, class_="warn" if each.open else None),
            ]
            for each in found
        ]
        heads = ("UTC", "where", "facility", "what", "message", "how it ended")
        shown = table(heads, rows)
        long = len(rows) > SHOWN_ROWS
        parts.append(folded(f"All {len(rows)} of them", shown, False) if long else shown)
    else:
        parts.append(el("p", "None: every attempt succeeded at once and nobody was asked."))
    if facts.facility_events:
        rows = [
            [
                words.clock(words.seconds(event.time) or 0.0),
                short_name(event.name),
                event.cause,
                event.reason,
                event.actor,
            ]
            for event in facts.facility_events[:SHOWN_ROWS]
        ]
        parts.append(el("h3", "What happened to facilities meanwhile"))
        parts.append(table(("UTC", "facility", "event", "reason", "by"), rows))
    return section("problems", "Problems and how they ended", *parts)


def _first_line(message: str, longest: int = 400) -> str:
    shown = " ".join(message.split())
    return shown if len(shown) <= longest else f"{shown[:longest]}…"


def reproduce(facts: Facts, pictures: Mapping[str, Any], made_by: str) -> Html:
    """Versions, commands and the campaign file."""
    file = facts.file
    digest = hashlib.sha256(file.text.encode()).hexdigest()
    versions = [("cmd-daemon", facts.daemon.version)]
    versions += [(f"plugin {plugin.plugin}", plugin.version) for plugin in facts.plugins]
    versions += list(pictures.get("versions", {}).items())
    settings = [
        f"--set {shlex.quote(f'{name}={value}')}" for name, value in sorted(file.parameters.items())
    ]
    commands = [
        *([f"{made_by}    # everything, from the sky to this page"] if made_by else []),
        f"cm apply {facts.title}.yaml {' '.join(settings)} --start".replace("  ", " "),
        f"cm watch {facts.title}",
        f"cm status {facts.title}",
        f"cm nexus {facts.title}",
        f"cm why {facts.title}    # any step, group or job of it as well",
    ]
    return section(
        "reproduce",
        "How to do it again",
        el("pre", "\n".join(commands)),
        el("dl", *(el("div", el("dt", name), el("dd", version)) for name, version in versions)),
        folded(
            f"The campaign file, version {file.version} (sha256 {digest[:16]}…)",
            el("pre", file.text),
            False,
        ),
    )
