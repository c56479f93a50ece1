"""Events as they were decided: all that `decide` was given, so that it can decide once more."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.commands import Command
from cmd_daemon.kernel.decide import decide
from cmd_daemon.kernel.decision import Decision
from cmd_daemon.kernel.records import FacilityState, Schedule
from cmd_daemon.kernel.view import View

SEVERAL = (ev.FacilityEvent, ev.ScheduleDue)
"""Events that may be about several campaigns."""


@dataclass(slots=True)
class Around:
    """What decisions depend on beside campaigns and events, from here on: the fields of the view of
    these names."""

    commandable: dict[tuple[str, str], frozenset[Command]]
    patience: int
    facilities: dict[str, FacilityState]


@dataclass(slots=True)
class Decided:
    """An event that changed something, with the moment it was decided at (microseconds UTC), and what
    the view had as its `next_id` and the history as its last `seq` then. `campaign_id` is None for an
    event about several campaigns or none; `schedule` is the schedule that a ScheduleDue is about."""

    event: ev.Event
    at: int
    next_id: int
    seq: int
    campaign_id: int | None
    schedule: Schedule | None = None


def around(view: View) -> Around:
    """The surroundings as they are now."""
    return Around(dict(view.commandable), view.patience, dict(view.facilities))


def decided(view: View, event: ev.Event, at: int, seq: int, decision: Decision) -> Decided | None:
    """An event with the decision on it, before that is applied; None if no decision about a campaign
    can ever depend on it."""
    schedule = None
    campaign_id: int | None = None
    if isinstance(event, ev.ScheduleDue):
        if not decision.campaigns:
            return None
        schedule = view.schedules.get(event.schedule)
    elif not isinstance(event, ev.FacilityEvent):
        campaign_id = _campaign(decision)
        if campaign_id is None:
            return None
    return Decided(event, at, view.next_id, seq, campaign_id, schedule)


def _campaign(decision: Decision) -> int | None:
    for entities in (decision.jobs, decision.groups, decision.steps):
        for entity in entities.values():
            return entity.campaign_id
    return next(iter(decision.campaigns), None)


def again(items: Iterable[Around | Decided]) -> Iterator[tuple[Decided, Decision]]:
    """Decide events once more, in order, from an empty view on. Raises what `decide` raises for an event
    that does not fit the ones before it."""
    view = View()
    for item in items:
        if isinstance(item, Around):
            view.commandable = item.commandable
            view.patience = item.patience
            view.facilities = dict(item.facilities)
            continue
        view.next_id = item.next_id
        if item.schedule is not None:
            view.schedules[item.schedule.name] = item.schedule
        decision = decide(view, item.event, item.at)
        yield item, decision
        view.apply(decision)
