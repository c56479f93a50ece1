"""A made-up campaign at three facilities, as the report reads it from a daemon: with movements between
Butlers, a retry, a gap, a signature, a held group, and texts that try to become markup."""

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from cmd_api.v1 import (
    campaign_pb2,
    daemon_pb2,
    event_pb2,
    facility_pb2,
    group_pb2,
    job_pb2,
    step_pb2,
)

REPORT = Path(__file__).parents[2] / "examples" / "full-chain" / "report"
sys.path.insert(0, str(REPORT))

from reading import Facts, JobAttempt  # noqa: E402

BEGAN = 1_790_000_000
HOSTILE = '<script>alert("x")</script> \x1b[31m\u202e & </td>'
FACILITIES = ("USDF", "FrDF", "UKDF")
HOME = {tract: FACILITIES[(tract - 1) // 2] for tract in range(1, 7)}
CAMPAIGN = "campaigns/full-chain"
TAPE = "USDF_TAPE"
STEPS = ("calibrate", "star-catalog", "global-calibration", "qa-signoff", "coadd")
TRANSFER = "transfer"


def at(seconds: float) -> Timestamp:
    """A time of the campaign, in seconds after it began."""
    stamp = Timestamp()
    stamp.FromMicroseconds(int((BEGAN + seconds) * 1e6))
    return stamp


class Story:
    """Collects what happened, for `facts`."""

    def __init__(self) -> None:
        self.groups: list[group_pb2.Group] = []
        self.attempts: list[JobAttempt] = []
        self.nexus: dict[str, list[step_pb2.NexusEntry]] = defaultdict(list)
        self.placements: dict[str, list[group_pb2.Placement]] = {}

    def group(
        self, step: str, name: str, facility: str, start: float, end: float, **more: Any
    ) -> str:
        """A group that was ACCEPTED, unless `more` says otherwise; its name."""
        full = f"{CAMPAIGN}/steps/{step}/groups/{name}"
        given: dict[str, Any] = {"state": group_pb2.Group.STATE_ACCEPTED, **more}
        self.groups.append(
            group_pb2.Group(
                name=full,
                facility=f"facilities/{facility}",
                start_time=at(start),
                finish_time=at(end),
                **given,
            )
        )
        return full

    def job(
        self,
        group: str,
        name: str,
        kind: str,
        facility: str,
        *tries: tuple[float, float, str],
        books: list[dict[str, Any]] | None = None,
        message: str = "",
        failures: tuple[job_pb2.Failure, ...] = (),
    ) -> None:
        """A job with its attempts: start, end and state of each. The books are the last one's."""
        state = job_pb2.Job.State.Value(f"STATE_{tries[-1][2]}")
        job = job_pb2.Job(name=f"{group}/jobs/{name}", kind=kind, state=state, attempt=len(tries))
        for number, (start, end, told) in enumerate(tries, 1):
            bad = told != "SUCCEEDED"
            extra = {"books": books} if books and number == len(tries) else {}
            attempt = job_pb2.Attempt(
                number=number,
                state=told,
                facility=facility,
                start_time=at(start),
                finish_time=at(end),
                message=message if bad else "done",
                failures=failures if bad else (),
                extra=json.dumps(extra),
            )
            self.attempts.append(JobAttempt(job, attempt))

    def move(
        self,
        group: str,
        movement: str,
        start: float,
        books: list[dict[str, Any]],
        held: bool = False,
    ) -> float:
        """Register, transfer and ingest (a tape has none) with their books; when that ended."""
        step = group.split("/")[3]
        facility = books[0]["source"]
        tape = books[0]["destination"] == TAPE
        last = "HELD" if held else "SUCCEEDED"
        chain = [
            ("register", 1.0, "SUCCEEDED"),
            (TRANSFER, 4.0, "SUCCEEDED"),
            ("ingest", 2.0, last),
        ]
        for kind, length, state in chain[: 2 if tape else 3]:
            told = "FAILED" if state == "HELD" else state
            self.job(
                group,
                f"{movement}-{kind}",
                kind,
                facility,
                (start, start + length, told),
                books=books,
            )
            start += length
        for book in books:
            places = {
                key: f"facilities/{book[key]}" if book[key] in FACILITIES else book[key]
                for key in ("source", "destination")
            }
            counts = {
                key: book[key]
                for key in ("made", "sent", "arrived", "ingested", "bytes", "not_for_here")
            }
            gaps = [step_pb2.NexusGap(**gap) for gap in book["gaps"]]
            entry = step_pb2.NexusEntry(
                movement=movement,
                dataset_type=book["type"],
                gap_count=len(gaps),
                groups=1,
                **places,
                **counts,
            )
            entry.group = f"{CAMPAIGN}/steps/{step}"
            self.nexus[step].append(entry)
            if gaps:
                single = step_pb2.NexusEntry()
                single.CopyFrom(entry)
                single.group = group
                single.gaps.extend(gaps)
                self.nexus[step].append(single)
        return start


def book(
    source: str, destination: str, type_: str, made: int, size: int, **more: Any
) -> dict[str, Any]:
    """One line of the books of a movement that went well, unless `more` says otherwise."""
    elsewhere = more.pop("not_for_here", 0)
    gaps = more.pop("gaps", [])
    came = made - elsewhere - len(gaps)
    return {
        "source": source,
        "destination": destination,
        "type": type_,
        "made": made,
        "sent": came,
        "arrived": came,
        "ingested": came,
        "not_for_here": elsewhere,
        "bytes": came * size,
        "gaps": gaps,
    }


def placement(facility: str, reason: str) -> group_pb2.Placement:
    """A decision between the three facilities."""
    factors = []
    for number, name in enumerate(FACILITIES):
        factors += [
            group_pb2.PlacementFactor(
                facility=f"facilities/{name}", name=factor, value=1.0, passed=True
            )
            for factor in ("memory", "cores", "walltime", "stack", "up")
        ]
        for factor, value, detail in (
            (
                "inputs",
                1.0 if number < 2 else 0.0,
                "" if number < 2 else "16 of 64 input files are missing",
            ),
            ("share", 0.21 + 0.1 * number, f"placed {20 + number} %, target 33 %"),
            ("locality", 1.0 - 0.25 * (number == 2), ""),
            ("score", 0.12 + 0.2 * number, "share × throughput × locality × network"),
        ):
            factors.append(
                group_pb2.PlacementFactor(
                    facility=f"facilities/{name}",
                    name=factor,
                    value=value,
                    passed=value > 0,
                    detail=detail,
                )
            )
    return group_pb2.Placement(
        time=at(1),
        facility=f"facilities/{facility}",
        algorithm="balanced",
        actor="daemon",
        reason=reason,
        factors=factors,
    )


def calibrate(story: Story) -> None:
    """Two groups of visits for each tract; one fails at first."""
    for tract, home in HOME.items():
        for part in (1, 2):
            start = 2.0 + 6.5 * ((tract - 1) % 2 * 2 + part - 1)
            first = 1000 + 4 * tract + 2 * part
            name = story.group(
                "calibrate",
                f"{tract}-000{part}",
                home,
                start,
                start + 7,
                region=f"tract/{tract}",
                where=f"tract = {tract} AND visit IN ({first}, {first + 1})",
                quanta=campaign_pb2.Quanta(expected=8, succeeded=8),
            )
            story.placements[name] = [placement(home, f"balanced: {home} has the best score")]
            if (tract, part) == (3, 2):
                failed = job_pb2.Failure(
                    task="calibrateImage", data_id="visit 1003", message=HOSTILE
                )
                tries = (start, start + 5, "FAILED"), (start + 7, start + 9, "SUCCEEDED")
                story.job(
                    name,
                    "process",
                    "process",
                    home,
                    *tries,
                    message=f"1 of 8 {HOSTILE}",
                    failures=(failed,),
                )
                story.attempts[-2].attempt.tasks.add(
                    task="calibrateImage", expected=8, successful=7, failed=1
                )
            else:
                story.job(name, "process", "process", home, (start, start + 5.6, "SUCCEEDED"))
            story.job(name, "collect", "collect", home, (start + 9.1, start + 9.4, "SUCCEEDED"))


def chain(story: Story) -> None:
    """Star catalogs, the global calibration with gather and scatter, and the coadds with what follows."""
    for tract, home in HOME.items():
        start = 36.0 + 5.0 * ((tract - 1) % 2)
        more = {"region": f"tract/{tract}", "where": f"tract = {tract}"}
        quanta = campaign_pb2.Quanta(expected=1, succeeded=1)
        name = story.group(
            "star-catalog", str(tract), home, start, start + 5, quanta=quanta, **more
        )
        story.job(name, "process", "process", home, (start, start + 4.6, "SUCCEEDED"))
        start = 80.0 + 17 * ((tract - 1) % 2)
        held = tract == 6
        state = group_pb2.Group.STATE_HELD if held else group_pb2.Group.STATE_ACCEPTED
        quanta = campaign_pb2.Quanta(expected=4, succeeded=4)
        name = story.group(
            "coadd", str(tract), home, start, start + 15, quanta=quanta, state=state, **more
        )
        story.job(name, "before-1", "script", home, (start, start + 0.6, "SUCCEEDED"))
        story.job(name, "process", "process", home, (start + 0.7, start + 5.5, "SUCCEEDED"))
        gap = {"uuid": "0198-77", "data_id": "tract=6, patch=2", "reason": f"file lost {HOSTILE}"}
        gaps = [gap] if held else []
        books = [
            book(home, "USDF", "coadd_image", 4, 263_000, gaps=gaps),
            book(home, "USDF", "coadd_summary", 4, 900),
        ]
        end = story.move(name, "keep", start + 5.6, books, held=held)
        if not held:
            end = story.move(name, "archive", end, [book(home, TAPE, "coadd_image", 4, 263_000)])
            story.job(name, "purge", "purge", home, (end, end + 1, "SUCCEEDED"))
    purged = step_pb2.NexusEntry(
        group=f"{CAMPAIGN}/steps/coadd",
        movement="purge",
        source="facilities/FrDF",
        dataset_type="calibrated_image",
    )
    purged.purged = 64
    story.nexus["coadd"].append(purged)
    name = story.group(
        "global-calibration",
        "all",
        "USDF",
        47,
        72,
        quanta=campaign_pb2.Quanta(expected=1, succeeded=1),
    )
    books = [book(home, "USDF", "star_catalog", 2, 88_000) for home in FACILITIES]
    story.move(name, "gather", 47, books)
    story.job(name, "process", "process", "USDF", (55, 60, "SUCCEEDED"))
    books = [book("USDF", home, "zero_point", 24, 160, not_for_here=8) for home in FACILITIES[1:]]
    story.move(name, "scatter", 62, books)


def step(name: str, start: float, end: float, **more: Any) -> step_pb2.Step:
    """A step that was ACCEPTED."""
    return step_pb2.Step(
        name=f"{CAMPAIGN}/steps/{name}",
        state=step_pb2.Step.STATE_ACCEPTED,
        start_time=at(start),
        finish_time=at(end),
        **more,
    )


def facts(finished: bool = True) -> Facts:
    """The campaign, after its end or while it still runs."""
    story = Story()
    calibrate(story)
    chain(story)
    campaign = campaign_pb2.Campaign(
        name=CAMPAIGN,
        owner=f"pilot {HOSTILE}",
        ticket="DM-1",
        state=campaign_pb2.Campaign.STATE_ACCEPTED
        if finished
        else campaign_pb2.Campaign.STATE_RUNNING,
        start_time=at(0),
    )
    if finished:
        campaign.finish_time.CopyFrom(at(125))
    lost = f"{CAMPAIGN}/steps/coadd/groups/6"
    held = event_pb2.Event(
        time=at(110),
        name=lost,
        kind="group",
        from_state="RUNNING",
        to_state="HELD",
        facility="UKDF",
        reason=HOSTILE,
    )
    signed = event_pb2.Event(
        time=at(79),
        name=f"{CAMPAIGN}/steps/qa-signoff",
        kind="step",
        from_state="REVIEW",
        to_state="ACCEPTED",
        cause="StepSigned",
        actor="pilot",
        reason="all within two sigma",
    )
    drained = event_pb2.Event(
        time=at(90),
        name="facilities/UKDF",
        kind="facility",
        cause="FacilityDrained",
        actor="pilot",
        reason="work on the cooling",
    )
    steps = [
        step("calibrate", 0.5, 35),
        step("star-catalog", 35, 47),
        step("global-calibration", 47, 72),
        step(
            "qa-signoff", 72, 79, breakpoint=f"Look at the residuals {HOSTILE}", signed_by="pilot"
        ),
        step("coadd", 79, 125),
    ]
    return Facts(
        campaign=campaign,
        file=campaign_pb2.CampaignFile(
            version=2,
            text=f"campaign: full-chain\nstack: w_2026_05\n# {HOSTILE}\n",
            parameters={"OWNER": HOSTILE},
        ),
        daemon=daemon_pb2.Daemon(version="0.1.0"),
        plugins=[daemon_pb2.Plugin(plugin="local", version="0.1.0")],
        facilities=[
            facility_pb2.Facility(
                name=f"facilities/{name}", slots=2, transport="ssh" if name == "UKDF" else "local"
            )
            for name in FACILITIES
        ],
        steps=steps,
        groups=story.groups,
        attempts=story.attempts,
        placements=story.placements,
        nexus=story.nexus,
        events=[signed, held],
        facility_events=[drained],
        read_at=BEGAN + 125.0,
    )
