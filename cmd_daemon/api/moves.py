"""What moving a group by hand would cost and meet, before anything is done."""

from dataclasses import dataclass

import grpc

from cmd_api.v1 import group_pb2 as pb
from cmd_daemon.api.errors import ApiError, not_found
from cmd_daemon.api.service import Room
from cmd_daemon.api.shapes import answer_message
from cmd_daemon.engine.inputs import Located
from cmd_daemon.hooks.placement import Held
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.decide import decide
from cmd_daemon.kernel.draft import Refused
from cmd_daemon.kernel.entities import Group, Step
from cmd_daemon.kernel.records import GroupRow
from cmd_daemon.kernel.states import GroupState

LEFT_BEHIND = 100
"""Groups of the same region that are named at most."""

NOTHING = Held(0, 0)


@dataclass(frozen=True, slots=True)
class MoveLook:
    """The cost of a move, what the filters say of the new facility, and why the group could never
    run there ("" if it could)."""

    cost: pb.MoveCost
    placement: pb.Placement
    never: str

    def check(self, name: str, facility: str) -> None:
        """Raise ApiError if the group could never run at the facility."""
        if self.never:
            raise ApiError(
                grpc.StatusCode.FAILED_PRECONDITION,
                "FACILITY_UNFIT",
                f"{name} cannot run at {facility}, now or later: {self.never}",
                {"name": name, "facility": facility},
            )


def refused_final(name: str, state: str, event: str) -> ApiError:
    """The refusal of any wish about a group that is final."""
    return ApiError(
        grpc.StatusCode.FAILED_PRECONDITION,
        "STATE_REFUSED",
        f"{name} is {state}, which is final: nothing can change it.",
        {"name": name, "state": state, "event": event},
    )


async def look_at_move(room: Room, row: GroupRow, facility: str) -> MoveLook:
    """What moving a group that is not final to a facility would mean. Asks the facilities for the
    inputs and the selector for its filters, and changes nothing.

    Raises ApiError NOT_FOUND for an unknown facility, FAILED_PRECONDITION if the group is final by now.
    """
    if facility not in room.facilities:
        raise not_found(f"facilities/{facility}")
    placing, view = room.engine.placing, room.engine.view
    group = view.groups.get(row.group.id)
    name = f"campaigns/{row.campaign}/steps/{row.step_name}/groups/{row.group.name}"
    if group is None:
        raise refused_final(name, row.group.state, "GroupMoved")
    step = view.steps[group.step_id]
    aside = await placing.ask_aside(group, at=facility)
    cost = pb.MoveCost()
    brings = any(job.name == "stage-transfer" for job in step.policy.jobs)
    _inputs(cost, aside.located, facility, brings)
    never = aside.placement.reason if aside.placement.permanent else ""
    if kind := placing.lacking_driver(group, facility):
        never = never or f"it has no driver for {kind} jobs"
    await _behind(room, cost, row, group, facility)
    _warn(room, cost, step, group, facility)
    if refusal := never or _refusal(room, group, facility):
        cost.notes.append(f"the move would be refused: {refusal}")
    answer = answer_message(step.policy.placement.algorithm, aside.placement, aside.factors)
    return MoveLook(cost, answer, never)


def _refusal(room: Room, group: Group, facility: str) -> str:
    """Why the group cannot be moved just now; "" if it can. A decision changes nothing."""
    view = room.engine.view
    try:
        decide(view, ev.GroupMoved(group_id=group.id, facility=facility), room.clock.now())
    except Refused as refused:
        return str(refused)
    return ""


def _inputs(cost: pb.MoveCost, located: Located, facility: str, brings: bool) -> None:
    """Inputs that are missing at the facility, and who has any; `brings`: the group stages them."""
    if located.total is None:
        cost.notes.append(f"nobody knows what inputs would have to come: {located.problem}")
        return
    there = located.held.get(facility, NOTHING)
    cost.missing_files = max(0, located.total.files - there.files)
    cost.missing_bytes = max(0, located.total.bytes - there.bytes)
    cost.sources.extend(
        f"facilities/{name}"
        for name, held in sorted(located.held.items())
        if name != facility and held.files
    )
    if cost.missing_files:
        cost.notes.append(
            f"{cost.missing_files} of {located.total.files} input files are not at {facility}; "
            + ("the group's stage brings them" if brings else "nothing brings them there by itself")
        )
    if located.problem:
        cost.notes.append(f"not everybody could be asked: {located.problem}")


async def _behind(
    room: Room, cost: pb.MoveCost, row: GroupRow, group: Group, facility: str
) -> None:
    """What was made where the group is, and stays there."""
    former = group.facility
    if former is None or former == facility:
        return
    cost.quanta_lost = group.quanta_succeeded
    if group.started_at is not None:
        cost.notes.append(
            f"it has begun at {former}: all its jobs are done again, and what they made stays there"
        )
    if group.region is None:
        return
    begun = await room.reader.begun_groups(group.campaign_id, group.region, former, LEFT_BEHIND + 1)
    names = [
        f"campaigns/{row.campaign}/steps/{step}/groups/{name}"
        for step, name in begun
        if (step, name) != (row.step_name, group.name)
    ]
    cost.left_behind.extend(names[:LEFT_BEHIND])
    if names:
        more = "at least " if len(names) > LEFT_BEHIND else ""
        cost.notes.append(
            f"{more}{len(cost.left_behind)} other groups of region {group.region} have begun at {former}: "
            f"what they made stays there; groups of the region placed later go to {facility}"
        )


def _warn(room: Room, cost: pb.MoveCost, step: Step, group: Group, facility: str) -> None:
    """What a person should know besides the data."""
    plan = step.policy.placement
    if group.facility == facility:
        cost.notes.append(f"it is at {facility} already: it is only pinned there")
    if plan.facilities and facility not in plan.facilities:
        cost.notes.append(f"the campaign's file does not name {facility}")
    if "within" in step.policy.split.params and group.facility not in (None, facility):
        cost.notes.append(
            f"visits that it shares with other regions at {group.facility} leave with it: those regions "
            f"will lack them there. Move all groups of {group.facility} that touch {group.region}, "
            "or begin the campaign anew"
        )
    if plan.at not in (None, facility):
        cost.notes.append(f"the step says at: {plan.at}")
    up, why = room.engine.live.up(facility)
    if not up:
        cost.notes.append(f"{facility} takes no work now ({why}): the group waits for it")
    if group.held and group.state is GroupState.HELD:
        cost.notes.append("it is held: release it after the move")
