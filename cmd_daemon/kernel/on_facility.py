"""What follows from events about facilities: drains, limits, the kill switch and its end."""

from dataclasses import replace

from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.draft import Draft, Refused
from cmd_daemon.kernel.entities import Group
from cmd_daemon.kernel.on_group import go_on
from cmd_daemon.kernel.on_job import stop_group, stopped_words
from cmd_daemon.kernel.records import FacilityState, Record
from cmd_daemon.kernel.states import Desired, JobState


def shown(state: FacilityState | None) -> str:
    """The state of a facility in the history."""
    if state is None or not (state.drained or state.killed):
        return "ACTIVE"
    return "KILLED" if state.killed else "DRAINED"


def drained(draft: Draft, event: ev.FacilityDrained) -> None:
    """A facility begins no new groups, or some again."""
    former = draft.view.facilities.get(event.facility)
    if former is not None and former.killed:
        raise _refuse(
            draft, former, "It is stopped by the kill switch: revive it (cm revive) first."
        )
    _decided(
        draft,
        former,
        FacilityState(
            event.facility,
            event.drained,
            event.reason,
            event.actor,
            draft.now,
            former.limits if former is not None else None,
            reviving=former is not None and former.reviving,
        ),
    )


def limited(draft: Draft, event: ev.FacilityLimited) -> None:
    """Other limits hold from now on."""
    former = draft.view.facilities.get(event.facility)
    if event.former != (former.limits if former is not None else None):
        raise Refused(
            f"facilities/{event.facility}",
            shown(former),
            draft.cause,
            "Another change of its limits came first: look at it again and decide anew.",
        )
    state = former or FacilityState(event.facility, False, "", "", draft.now)
    _decided(draft, former, replace(state, limits=event.limits), event.limits or "{}")


def killed(draft: Draft, event: ev.FacilityKilled) -> None:
    """Nothing is submitted there from now on; the engine's sweep ends what is outside."""
    former = draft.view.facilities.get(event.facility)
    if former is not None and former.killed:
        raise _refuse(draft, former, f"It is {stopped_words(former)}.")
    _decided(
        draft,
        former,
        FacilityState(
            event.facility,
            True,
            event.reason,
            event.actor,
            draft.now,
            former.limits if former is not None else None,
            killed=True,
        ),
    )


def revived(draft: Draft, event: ev.FacilityRevived) -> None:
    """It takes work again. With `retry` the engine's sweep lets the groups go on that it stopped."""
    former = draft.view.facilities.get(event.facility)
    if former is None or not former.killed:
        raise Refused(
            f"facilities/{event.facility}",
            shown(former),
            draft.cause,
            "It is not stopped by the kill switch: there is nothing to revive.",
        )
    _decided(
        draft,
        former,
        FacilityState(
            event.facility,
            False,
            event.reason,
            event.actor,
            draft.now,
            former.limits,
            reviving=event.retry,
        ),
    )


def swept(draft: Draft, event: ev.FacilitySwept) -> None:
    """Stop these groups, or let them go on: as the facility stands by now."""
    state = draft.view.facilities.get(event.facility)
    if state is None:
        return
    for ident in event.group_ids:
        seen = draft.view.groups.get(ident)
        if seen is None or seen.facility != event.facility:
            continue
        if draft.view.campaigns[seen.campaign_id].desired is Desired.CANCEL:
            continue  # that ends them, by a sweep of its own
        if state.killed:
            stop_group(draft, ident)
        elif state.reviving and seen.stopped:
            _revive(draft, draft.group(ident))


def _revive(draft: Draft, group: Group) -> None:
    """Where a person or an uncertain job holds the group too, that is what it waits for."""
    job = draft.job(group.jobs[group.cursor])
    group.stopped = False
    if group.held:
        group.reason = "held by a person"
        draft.note(group, f"{group.facility} is revived; a person still holds the group")
    elif job.state in (JobState.UNCERTAIN, JobState.HELD):
        group.reason = f"{job.name}: {job.reason}"
        draft.note(group, f"{group.facility} is revived; job {job.name} still waits for a person")
    else:
        go_on(draft, group, job, f"{group.facility} is revived")


def _decided(
    draft: Draft, former: FacilityState | None, state: FacilityState, detail: str | None = None
) -> None:
    event = draft.event
    draft.decision.facilities[state.name] = state
    draft.decision.records.append(
        Record(
            "facility",
            f"facilities/{state.name}",
            None,
            None,
            None,
            None,
            shown(former),
            shown(state),
            draft.cause,
            event.actor,
            draft.now,
            event.reason,
            state.name,
            request_id=event.request_id,
            detail=detail,
        )
    )


def _refuse(draft: Draft, state: FacilityState, message: str) -> Refused:
    return Refused(f"facilities/{state.name}", shown(state), draft.cause, message)
