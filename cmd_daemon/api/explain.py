"""DaemonService: the daemon itself, its plugins, and the question "why?"."""

from collections.abc import Iterator

from cmd_api.v1 import daemon_pb2 as pb
from cmd_api.v1 import daemon_pb2_grpc, group_pb2
from cmd_daemon.api import names
from cmd_daemon.api.errors import invalid, not_found
from cmd_daemon.api.hindsight import hindsight
from cmd_daemon.api.identity.caller import calling
from cmd_daemon.api.service import Context, Room
from cmd_daemon.api.shapes import (
    answer_message,
    event_message,
    placement_message,
    shown_state,
    stamp,
)
from cmd_daemon.kernel.entities import Campaign, Entity, Group, Job, Step
from cmd_daemon.kernel.states import GroupState, JobState
from cmd_daemon.kernel.waiting import Wait, WaitKind, actions, waits_for
from cmd_daemon.observe import metrics

STORY = 10
"""Events shown of an entity's story."""


class DaemonService(daemon_pb2_grpc.DaemonServiceServicer):
    """What runs here, and why things stand where they stand."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def GetDaemon(self, request: pb.GetDaemonRequest, context: Context) -> pb.Daemon:
        engine = self._room.engine
        return pb.Daemon(
            version=self._room.version,
            start_time=stamp(self._room.started_at),
            accepting=not (engine.writer.problem or engine.standing_by),
            problem=engine.standing_by or engine.writer.problem,
            standby=bool(engine.standing_by),
            last_seq=engine.feed.last_seq,
            pending_events=engine.waiting,
            database=self._room.database,
            open_groups=len(engine.view.groups),
            open_jobs=len(engine.view.jobs),
            watchers=int(metrics.watchers._value.get()),
        )

    async def GetCaller(self, request: pb.GetCallerRequest, context: Context) -> pb.Caller:
        call = calling()
        caller = call.caller
        message = pb.Caller(
            who=caller.who,
            proof=caller.proof,
            role=caller.role.word,
            groups=caller.groups,
            peer=call.peer,
            owners_only=self._room.owners.only,
        )
        if caller.until is not None:
            message.expire_time.FromSeconds(int(caller.until))
        return message

    async def ListPlugins(
        self, request: pb.ListPluginsRequest, context: Context
    ) -> pb.ListPluginsResponse:
        return pb.ListPluginsResponse(
            plugins=[
                pb.Plugin(
                    plugin=info.name,
                    version=info.version,
                    api_version=info.api_version,
                    brings=info.brings,
                    distribution=info.distribution,
                )
                for info in self._room.plugins.infos
            ]
        )

    async def ExplainEntity(
        self, request: pb.ExplainEntityRequest, context: Context
    ) -> pb.ExplainEntityResponse:
        path = names.parse(request.name, 1, 2, 3, 4)
        without = self._left_out(request, path.depth)
        response = pb.ExplainEntityResponse(name=request.name)
        match path.depth:
            case 1:
                campaign = (await self._room.campaign(request.name)).campaign
                stored: Entity = campaign
                ids = {"campaign_id": campaign.id}
            case 2:
                stored = (await self._room.step(request.name)).step
                ids = {"step_id": stored.id}
            case 3:
                stored = (await self._room.group(request.name)).group
                ids = {"group_id": stored.id}
            case _:
                stored = (await self._room.job(request.name)).job
                ids = {"group_id": stored.group_id, "job_id": stored.id}
        open_one = self._open(stored)
        waits = list(self._waits(open_one)) if open_one is not None else []
        entity = open_one or stored
        response.state = shown_state(entity) if isinstance(entity, Campaign) else entity.state
        for wait in waits:
            response.waiting.add(
                kind=wait.kind,
                text=wait.text,
                name=wait.name,
                since=stamp(wait.since),
                until=stamp(wait.until),
            )
        if open_one is not None:
            response.actions.extend(actions(self._room.engine.view, open_one))
        story = await self._room.reader.events(
            0,
            STORY,
            ids.get("campaign_id"),
            ids.get("step_id"),
            ids.get("group_id"),
            ids.get("job_id"),
            backwards=True,
        )
        response.story.extend(event_message(record) for record in story)
        if waits:
            response.summary = f"{response.state}: {waits[0].text}"
        else:
            reason = entity.reason or (story[0].reason if story else "")
            response.summary = f"{response.state}{': ' + reason if reason else ''}"
        group_id = ids.get("group_id")
        if group_id is not None and (rows := await self._room.reader.placements(group_id)):
            response.placement.CopyFrom(placement_message(rows[-1]))
        if without and group_id is not None:
            response.what_if.CopyFrom(await self._what_if(group_id, without))
        return response

    def _left_out(self, request: pb.ExplainEntityRequest, depth: int) -> frozenset[str]:
        """The facilities to be taken as down. Raises ApiError for an unknown one, and where there is
        no group to be placed."""
        facilities = frozenset(names.parse_facility(name) for name in request.without)
        for name in sorted(facilities):
            if name not in self._room.facilities:
                raise not_found(f"facilities/{name}")
        if facilities and depth < 3:
            raise invalid("without", "only groups are placed: ask about one of its groups")
        return facilities

    async def _what_if(self, group_id: int, without: frozenset[str]) -> group_pb2.Placement:
        """Where a group would be placed now without some facilities, and why."""
        engine = self._room.engine
        group = engine.view.groups.get(group_id)
        if group is None:
            rows = await self._room.reader.placements(group_id)
            if not rows:
                return group_pb2.Placement(reason="the group is final and was never placed")
            return hindsight(rows[-1], without)
        aside = await engine.placing.ask_aside(group, exclude=without)
        algorithm = engine.view.steps[group.step_id].policy.placement.algorithm
        answer = answer_message(algorithm, aside.placement, aside.factors)
        if former := engine.placing.region_dropped(group, without):
            answer.reason += f"; its region {group.region} is at {former}, which was left out"
        return answer

    def _open(self, stored: Entity) -> Entity | None:
        """The entity in the engine's view; None if it is final and let go."""
        view = self._room.engine.view
        match stored:
            case Campaign():
                return view.campaigns.get(stored.id)
            case Step():
                return view.steps.get(stored.id)
            case Group():
                return view.groups.get(stored.id)
            case Job():
                return view.jobs.get(stored.id)

    def _waits(self, entity: Entity) -> Iterator[Wait]:
        """The kernel's answer, and what only the lane knows of a job that waits for a slot."""
        engine = self._room.engine
        job: Job | None = None
        if isinstance(entity, Job):
            job = entity
        elif isinstance(entity, Group) and entity.jobs:
            job = engine.view.jobs.get(entity.jobs[entity.cursor])
        if job is not None and job.state is JobState.READY and job.driver:
            lane = engine.lanes.of(job)
            if lane is None:
                words = f"{job.facility} has no driver {job.driver!r} any more: configure it"
                yield Wait(WaitKind.PERSON, words)
            elif not lane.started or lane.breaker.state(self._room.clock.now()) == "open":
                why = lane.breaker.message or "it is starting"
                words = f"driver {lane.name} at {lane.facility} takes no work now: {why}"
                yield Wait(WaitKind.SLOT, words, f"facilities/{lane.facility}")
            else:
                yield from self._down(job)
                if words := engine.lanes.full_queue(job):
                    yield Wait(WaitKind.SLOT, words, f"facilities/{job.facility}")
        yield from waits_for(engine.view, entity)

    def _down(self, job: Job) -> Iterator[Wait]:
        """What a job waits for at a facility that takes no new work."""
        engine = self._room.engine
        up, why = engine.live.up(job.facility)
        group = engine.view.groups[job.group_id]
        begins = group.state is GroupState.PLACED
        if up or not (begins or engine.live.failing(job.facility)):
            return
        name = f"facilities/{job.facility}"
        state = engine.view.facilities.get(job.facility)
        words = f"{job.facility} takes no work now ({why})"
        if begins:
            stays = engine.placing.waits_for_facility(group)
            words += (
                f"; the group waits for it: {stays}" if stays else "; it is placed again elsewhere"
            )
        drained = state is not None and state.drained
        kind = WaitKind.PERSON if drained else WaitKind.SLOT
        yield Wait(kind, f"{words}{': undrain it' if drained else ''}", name)
