"""What PanDA tells of a facility: whether it answers, how long our credential will do, and its queues."""

from cmd_daemon.hooks import Check, FacilityInfo, FacilityReport, Host, QueueState
from cmd_panda.faults import Kind, PandaFault
from cmd_panda.identity import Standing
from cmd_panda.records import QueueLoad, QueueSpec
from cmd_panda.settings import NAME, PandaSettings
from cmd_panda.sharing import Servers, Shared

CREDENTIAL = "panda credential"
TAKES_JOBS = frozenset({"online", "brokeron"})


class PandaProbe:
    """Looks at the PanDA server of a facility. Two calls serve the looks at all its facilities."""

    name = NAME

    async def look(self, facility: FacilityInfo, host: Host) -> FacilityReport:
        """See `FacilityProbe`; nothing is told of a facility without a section `panda`.

        The credential is vital once it has expired, and so are the queues when none takes jobs. A
        server that does not answer is no reason to place work elsewhere: its driver's breaker says so.
        """
        if NAME not in facility.settings:
            return FacilityReport()
        settings = PandaSettings.model_validate(facility.settings[NAME])
        servers, looking = Servers.of(host), object()
        try:
            shared = servers.at(settings, looking)
            standing = await shared.server.identity.standing()
            checks = [_credential(standing)]
            if standing.expired:
                return FacilityReport(checks=tuple(checks))
            more, states = await _queues(settings, facility, shared)
            return FacilityReport(checks=(*checks, *more), queues=states)
        finally:
            await servers.let_go(looking)


def _credential(standing: Standing) -> Check:
    ok = not (standing.expired or standing.soon)
    return Check(CREDENTIAL, ok, standing.message, vital=standing.expired)


async def _queues(
    settings: PandaSettings, facility: FacilityInfo, shared: Shared
) -> tuple[list[Check], tuple[QueueState, ...]]:
    """The check of the server and its queues here, and the queues' states."""
    try:
        specs, loads = await shared.queues.specs(), await shared.queues.loads()
    except PandaFault as fault:
        refused = fault.kind is Kind.CREDENTIAL
        return [Check(NAME, False, str(fault), vital=refused)], ()
    classes = [queue.name for queue in facility.queues] or [""]
    states, bad = [], []
    for name in classes:
        queue = settings.queue_for(name)
        spec = specs.get(queue)
        states.append(_state(name, spec, loads.get(queue, QueueLoad())))
        if spec is None:
            bad.append(f"there is no queue '{queue}'")
        elif spec.status not in TAKES_JOBS:
            bad.append(f"queue {queue} is {spec.status}")
    words = f"{shared.server.there}: {'; '.join(dict.fromkeys(bad))}" if bad else ""
    none_online = not any(state.online for state in states)
    return [Check(NAME, not bad, words, vital=none_online)], tuple(states)


def _state(memory_class: str, spec: QueueSpec | None, load: QueueLoad) -> QueueState:
    if spec is None:
        return QueueState(memory_class, online=False)
    return QueueState(
        memory_class,
        online=spec.status in TAKES_JOBS,
        running=load.running,
        queued=load.queued,
        memory=spec.memory or None,
        cores=spec.cores or None,
        walltime_s=spec.walltime_s or None,
    )
