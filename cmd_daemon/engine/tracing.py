"""Which call asked for an outside call: the history carries it, so that it outlives the daemon.

Each event of the history has the `request_id` of the API call that it came with, and is committed in one
transaction with the intents that follow from it. What is done outside for a job therefore belongs to the
newest call about the job, its group, its step or its campaign; a cancel maybe to the kill of its facility.
"""

from collections.abc import Iterable, Sequence

from cmd_daemon.engine.answers import key_of, words
from cmd_daemon.hooks.ports import Refused, Verb
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.entities import Job
from cmd_daemon.kernel.records import Record
from cmd_daemon.kernel.view import View
from cmd_daemon.observe.spans import OutsideCall, Spans

_KINDS = {"CampaignApplied": "campaign", "ScheduleDue": "campaign", "FacilityKilled": "facility"}
for _base, _kind in (
    (ev.CampaignEvent, "campaign"),
    (ev.StepEvent, "step"),
    (ev.GroupEvent, "group"),
    (ev.JobEvent, "job"),
):
    _KINDS |= {each.__name__: _kind for each in _base.__subclasses__()}


class Tracing:
    """Knows the last call about each entity, and has spans kept of what drivers are called for."""

    def __init__(self, view: View, spans: Spans) -> None:
        self._view = view
        self._spans = spans
        self._calls: dict[int | str, tuple[int, str]] = {}

    def note(self, records: Iterable[Record]) -> None:
        """Committed events, in order."""
        for record in records:
            if record.request_id:
                about = _addressed(record)
                if about is not None:
                    self._calls[about] = (record.seq, record.request_id)

    def asked_by(self, job: Job, verb: str) -> str:
        """The request id of the call that the outside call belongs to; "" if nobody asked."""
        above = [job.id, job.group_id, job.step_id, job.campaign_id]
        found = [self._calls.get(ident, (0, "")) for ident in above]
        if verb == Verb.CANCEL:
            found.append(self._calls.get(f"facilities/{job.facility}", (0, "")))
        return max(found)[1]

    def called(self, call: OutsideCall, about: Iterable[Job], answers: object) -> None:
        """A driver's call about these jobs has ended. One question about all that runs is one span; of
        everything else each attempt has its own, in the trace of the API call that asked for it."""
        if call.verb == "observe":
            self._spans.question(call)
            return
        refused = _refused(answers)
        for job in about:
            key = self._view.key(job)
            self._spans.attempt(call, key, self.asked_by(job, call.verb), refused.get(key, ""))


def _refused(answers: object) -> dict[str, str]:
    """Why single attempts were refused, by their keys."""
    given = answers if isinstance(answers, Sequence) else ()
    return {
        key_of(each): words(getattr(each, "message", "")) or "refused"
        for each in given
        if isinstance(each, Refused) or getattr(each, "done", True) is False
    }


def _addressed(record: Record) -> int | str | None:
    """What the call was about; None for an event that only followed from it."""
    kind = _KINDS.get(record.cause)
    match kind, record.kind:
        case "campaign", "campaign":
            return record.campaign_id
        case "step", "step":
            return record.step_id
        case "group", "group" | "job":
            return record.group_id
        case "job", "job":
            return record.job_id
        case "facility", "facility":
            return record.name
    return None
