"""The engine: the one loop that changes state, and everything that hangs on its changes."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from cmd_daemon.engine.calls import Call, Calls
from cmd_daemon.engine.clock import Clock
from cmd_daemon.engine.controls import Controls, commands_of
from cmd_daemon.engine.facilities import LiveFacilities
from cmd_daemon.engine.feed import Feed
from cmd_daemon.engine.figures import Figures
from cmd_daemon.engine.journal import Journal, Loaded
from cmd_daemon.engine.lanes import Lane, Lanes
from cmd_daemon.engine.nexus import entries_of, log_nexus
from cmd_daemon.engine.notices import Notices
from cmd_daemon.engine.observers import Observers
from cmd_daemon.engine.opening import Opening
from cmd_daemon.engine.placing import Placing
from cmd_daemon.engine.polling import Polling
from cmd_daemon.engine.requests import Asked, Requests
from cmd_daemon.engine.scheduling import Scheduling
from cmd_daemon.engine.splitting import Splitting
from cmd_daemon.engine.sweeps import Sweeps
from cmd_daemon.engine.timers import Timers
from cmd_daemon.engine.tracing import Tracing
from cmd_daemon.engine.writer import Pending, Writer
from cmd_daemon.hooks.manager import Plugins
from cmd_daemon.hooks.ports import FacilityInfo, Host, Verb
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.decide import decide
from cmd_daemon.kernel.decided import around
from cmd_daemon.kernel.decision import Decision
from cmd_daemon.kernel.draft import Refused
from cmd_daemon.kernel.records import AuditRow, RequestRow
from cmd_daemon.kernel.states import CampaignState, Desired
from cmd_daemon.kernel.view import View, splits
from cmd_daemon.observe import metrics
from cmd_daemon.observe.spans import Spans

log = structlog.get_logger()

SLICE = 256
"""Events decided before other tasks get a turn."""


class NotAccepting(Exception):
    """The store takes no writes, or another daemon leads; the message says why. Nothing of the call
    was done."""


@dataclass(slots=True)
class Engine:
    """Takes events, decides, commits, and then lets the outside know.

    Build it, `recover`, then `run`. `post` and `ask` may be called from the loop's own thread only.
    `facilities` is changed in place when a person edits limits: everyone who holds it sees them. A
    command to an attempt outside is asked for `command_s` seconds.
    """

    journal: Journal
    clock: Clock
    plugins: Plugins
    facilities: dict[str, FacilityInfo]
    host: Host
    lanes_made: list[Lane]
    probe_s: float = 30.0
    command_s: float = 600.0
    spans: Spans | None = None
    """Keeps spans of drivers' calls, if there are to be traces."""
    standing_by: str = ""
    """Why this daemon decides nothing, while another one leads; empty for the leader."""
    view: View = field(default_factory=View)
    lanes: Lanes = field(init=False)
    live: LiveFacilities = field(init=False)
    feed: Feed = field(init=False)
    writer: Writer = field(init=False)
    timers: Timers = field(init=False)
    calls: Calls = field(init=False)
    polling: Polling = field(init=False)
    opening: Opening = field(init=False)
    splitting: Splitting = field(init=False)
    placing: Placing = field(init=False)
    observers: Observers = field(init=False)
    scheduling: Scheduling = field(init=False)
    notices: Notices = field(init=False)
    sweeps: Sweeps = field(init=False)
    figures: Figures = field(init=False)
    tracing: Tracing | None = field(init=False)
    recovered: bool = False
    beats: int = 0
    _inbox: deque[ev.Event | Asked] = field(default_factory=deque)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _taken: int = 0
    _turned: asyncio.Event = field(default_factory=asyncio.Event)
    _seq: int = 0
    _requests: Requests = field(default_factory=Requests)

    def __post_init__(self) -> None:
        self.lanes = Lanes(self.view, self.facilities)
        self.tracing = Tracing(self.view, self.spans) if self.spans is not None else None
        for lane in self.lanes_made:
            lane.tracing = self.tracing
            self.lanes.add(lane)
            self.view.commandable[lane.facility, lane.name] = commands_of(lane)
        self.view.patience = round(self.command_s * 1e6)
        self.sweeps = Sweeps(self.view, self.lanes, self.post)
        self.live = LiveFacilities(
            self.view,
            self.facilities,
            self.lanes,
            self.plugins,
            self.host,
            self.clock,
            self.probe_s,
            self._arrived.set,
        )
        self.feed = Feed(self.journal)
        self.writer = Writer(self.journal, self.clock, self._committed)
        self.timers = Timers(self.clock, self.post)
        self.calls = Calls(
            self.view,
            self.journal,
            self.clock,
            self.post,
            self.decided,
            self.lanes.queues.name_of,
            Controls(self.view, self.journal, self.clock, self.post).make,
        )
        self.polling = Polling(self.view, self.clock, self.post, self.decided)
        self.opening = Opening(self.lanes, self.calls, self.polling, self.clock, self._arrived.set)
        self.splitting = Splitting(
            self.view,
            self.plugins,
            self.host,
            self.post,
            self.decided,
            lambda campaign_id: self.placing.regions.get(campaign_id, {}),
        )
        self.placing = Placing(
            self.view,
            self.facilities,
            self.live,
            self.plugins,
            self.host,
            self.clock,
            self.post,
            self.decided,
        )
        self.observers = Observers(list(self.plugins.observers.values()))
        self.scheduling = Scheduling(
            self.view, self.plugins, self.facilities, self.journal, self.clock, self.ask
        )
        self.notices = Notices(
            self.view,
            self.live,
            self.journal,
            self.clock,
            list(self.plugins.notifiers.values()),
            self.host.state_dir / "notices.json",
            lambda: self.writer.problem,
        )
        self.figures = Figures(self.view, self.lanes, self.placing, self.notices, self.clock)

    # --- what others call -------------------------------------------------------------------

    def post(self, event: ev.Event) -> None:
        """Put an event into the inbox; nobody waits for it."""
        self._inbox.append(event)
        self._arrived.set()

    async def decided(self) -> None:
        """Return once everything that is in the inbox now has been decided. Whoever posts events in
        sets waits for it after each set: that bounds the inbox, and no fact is posted twice."""
        target = self._taken + len(self._inbox)
        await asyncio.sleep(0)
        while self._taken < target:
            await self._turned.wait()

    async def ask(
        self, event: ev.Event, request: RequestRow | None = None, audit: AuditRow | None = None
    ) -> Decision:
        """Put an event into the inbox and wait for its commit.

        With `request`, its row is committed with the event, and the same request asked again while
        it is under way, or soon after, shares the answer. `audit` gets its result, and is committed with
        the event too, unless the answer is shared. Raises Refused if the event does not fit,
        NotAccepting if the store takes no writes or another daemon leads, RequestIdReused for
        another request of that id.
        """
        if problem := self.standing_by or self.writer.problem:
            raise NotAccepting(problem)
        if request is not None and (former := self._requests.find(request)) is not None:
            return await asyncio.shield(former.answer)
        answer: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        asked = Asked(event, answer, request, audit)
        if request is not None:
            self._requests.begin(request, asked)
            answer.add_done_callback(lambda _: self._requests.answered(request, self.clock.now()))
        self._inbox.append(asked)
        self._arrived.set()
        return await asyncio.shield(answer)

    def wake(self, facility: str, driver: str) -> None:
        """A driver's hint that something changed outside. Loop thread only."""
        lane = self.lanes.lanes.get((facility, driver))
        if lane is not None:
            lane.wake.set()

    @property
    def waiting(self) -> int:
        """Events that are not decided yet."""
        return len(self._inbox)

    # --- start -------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Read the open state back and pick up every thread: timers, queues, calls, splits."""
        loaded: Loaded = await self.journal.load_open()
        view = self.view
        view.load(
            loaded.campaigns.values(),
            loaded.steps.values(),
            loaded.groups.values(),
            loaded.jobs.values(),
        )
        view.next_id = max(view.next_id, loaded.highest_id + 1)
        self.figures.outbox.load(loaded.effects.values())
        self._seq = loaded.last_seq
        self.feed.reached(loaded.last_seq)
        view.facilities.update(loaded.facilities)
        view.schedules.update(loaded.schedules)
        for state in loaded.facilities.values():
            self.live.note(state)
        for campaign in view.campaigns.values():
            steps = [view.steps[ident] for ident in view.steps_of[campaign.id].values()]
            apart = {step.id for step in steps if step.policy.placement.at is not None}
            self.placing.load(campaign.id, await self.journal.placed_before(campaign.id, apart))
        for step in view.steps.values():
            if splits(step):
                view.group_names[step.id] = await self.journal.group_names(step.id)
            self.timers.note(step)
        for group in view.groups.values():
            self.timers.note(group)
            self.placing.adopt(group)
        for job in view.jobs.values():
            self.timers.note(job)
            self.lanes.note(job)
        log.info(
            "recovered",
            campaigns=len(view.campaigns),
            groups=len(view.groups),
            jobs=len(view.jobs),
            effects=len(loaded.effects),
            last_seq=self._seq,
        )
        if self.tracing is not None:
            self.tracing.note(await self.journal.asked())
        await self.notices.load(self._seq)
        self.recovered = True

    def _pick_up(self) -> None:
        """After recovery: every thread that the end of the former daemon cut off."""
        self.calls.pick_up(self.lanes)
        for step in list(self.view.steps.values()):
            self.splitting.note(step)
        self.sweeps.pick_up()

    async def run(self) -> None:
        """Run everything until cancelled; then leave all jobs as they are, to be adopted later.

        Raises if a part that must not fail has failed.
        """
        if not self.recovered:
            await self.recover()
        async with asyncio.TaskGroup() as tasks:
            self.opening.begin(tasks)
            tasks.create_task(self.writer.run())
            tasks.create_task(self.timers.run())
            tasks.create_task(self.placing.run())
            tasks.create_task(self.live.run())
            for observing in self.observers.tasks():
                tasks.create_task(observing)
            for telling in self.notices.tasks():
                tasks.create_task(telling)
            self._pick_up()
            tasks.create_task(self._loop())
            tasks.create_task(self.scheduling.run())
            tasks.create_task(self.figures.run())

    async def take_in(self, info: FacilityInfo, lanes: Sequence[Lane]) -> None:
        """A facility is configured anew, or new: its limits hold at once, its lanes get these drivers."""
        self.facilities.setdefault(info.name, info)
        for made in lanes:
            lane = self.lanes.lanes.get((info.name, made.name))
            if lane is None:
                self.lanes.add(made)
                self.opening.open(made)
                for job in list(self.view.jobs.values()):
                    if self.lanes.of(job) is made:
                        self.lanes.note(job)
            else:
                lane.limit, lane.fixed = made.limit, made.fixed
                await self.opening.exchange(lane, made.driver)
            self.view.commandable[info.name, made.name] = commands_of(made)
        self.live.configure(info)
        if kept := self.writer.pending.batch.decided:
            kept.append(around(self.view))

    # --- the loop ----------------------------------------------------------------------------

    async def _loop(self) -> None:
        while True:
            if not self._inbox:
                self._arrived.clear()
                self._admit()
                self.writer.want()
                if not self._inbox:
                    await self._arrived.wait()
            self.beats += 1
            for _ in range(min(len(self._inbox), SLICE)):
                item = self._inbox.popleft()
                self._taken += 1
                if isinstance(item, Asked):
                    self._answer(item)
                else:
                    self._decide(item)
                if self.writer.full:
                    break
            self._turned.set()
            self._turned = asyncio.Event()
            self._admit()
            self.writer.want()
            metrics.inbox_depth.set(len(self._inbox))
            if self.writer.full:
                await self.writer.room()
            else:
                await asyncio.sleep(0)

    def _admit(self) -> None:
        now = self.clock.now()
        for count, admission in enumerate(self.lanes.admissions(now), start=1):
            self._decide(admission)
            if count == SLICE or self.writer.full:
                # The rest stays queued: the lane is looked at again in the next turn.
                job = self.view.jobs.get(admission.job_id)
                lane = self.lanes.of(job) if job is not None else None
                if lane is not None:
                    self.lanes.touch(lane)
                self._arrived.set()
                return

    def _answer(self, asked: Asked) -> None:
        if asked.answer.done():
            return
        if self.writer.problem:
            asked.answer.set_exception(NotAccepting(self.writer.problem))
            return
        now = self.clock.now()
        try:
            decision = decide(self.view, asked.event, now)
        except Refused as refused:
            asked.answer.set_exception(refused)
            return
        except Exception as error:
            log.exception("an event could not be decided", event=type(asked.event).__name__)
            asked.answer.set_exception(error)
            return
        self._apply(asked.event, now, decision)
        if asked.request is not None:
            self.writer.pending.batch.requests.append(asked.request)
        if asked.audit is not None:
            asked.audit.follows(decision.records)
            self.writer.pending.batch.audits.append(asked.audit)
        future = asked.answer
        self.writer.pending.answers.append(
            lambda: None if future.done() else future.set_result(decision)
        )
        match asked.event:
            case ev.CampaignCancelled(campaign_id=ident):
                self.sweeps.campaign(ident)
            case ev.CampaignPaused(campaign_id=ident):
                self.sweeps.outside((ident,))
            case ev.CampaignResumed(campaign_id=ident):
                self._resume(ident)
            case ev.FacilityKilled(facility=name) | ev.FacilityRevived(facility=name):
                self.sweeps.facility(name)
            case ev.ScheduleDue():
                for campaign in decision.campaigns.values():
                    if campaign.desired is Desired.CANCEL:
                        self.sweeps.campaign(campaign.id)

    def _decide(self, event: ev.Event) -> None:
        now = self.clock.now()
        try:
            decision = decide(self.view, event, now)
        except Refused as refused:
            log.warning(
                "an event was refused", cause=refused.event, name=refused.name, why=str(refused)
            )
            return
        except Exception:
            # A fault of ours: the event is dropped, the world will be observed again.
            log.exception("an event could not be decided", event=repr(event)[:500])
            return
        if decision:
            self._apply(event, now, decision)

    def _apply(self, event: ev.Event, now: int, decision: Decision) -> None:
        view, pending = self.view, self.writer.pending
        pending.keep(view, event, now, self._seq, decision)
        expected: dict[int, int] = {}
        for known, changed in (
            (view.campaigns, decision.campaigns),
            (view.steps, decision.steps),
            (view.groups, decision.groups),
            (view.jobs, decision.jobs),
        ):
            for ident in changed:
                if ident not in decision.created:
                    expected[ident] = known[ident].version
        pending.batch.add(decision, expected)
        for record in decision.records:
            self._seq += 1
            record.seq = self._seq
        pending.effects += decision.effects
        pending.effects += decision.again
        pending.recalls += decision.recalls
        view.apply(decision)
        if decision.attempts:
            self.placing.note_attempts(decision.attempts)
        for state in decision.facilities.values():
            self.live.note(state)
        for step in decision.steps.values():
            self.timers.note(step)
            self.splitting.note(step)
        for group in decision.groups.values():
            if group.due_at is not None:
                self.timers.note(group)
            self.placing.note(group)
        for job in decision.jobs.values():
            if job.due_at is not None:
                self.timers.note(job)
            self.lanes.note(job)
        for campaign in decision.campaigns.values():
            if campaign.state is CampaignState.ARCHIVED:
                self.placing.forget(campaign.id)
                self.lanes.forget(campaign.id)

    def _resume(self, campaign_id: int) -> None:
        self.sweeps.outside((campaign_id,))
        self.lanes.resume(campaign_id)
        self.placing.resume(campaign_id)
        for step_id in self.view.steps_of[campaign_id].values():
            self.splitting.note(self.view.steps[step_id])

    # --- after the commit ----------------------------------------------------------------------

    def _committed(self, taken: Pending, seconds: float) -> None:
        if self.tracing is not None:
            self.tracing.note(taken.batch.records)
        for effect in taken.effects:
            job = self.view.jobs.get(effect.job_id)
            lane = self.lanes.lanes.get((effect.facility, effect.driver))
            if job is not None and lane is not None:
                # An uncertain job's attempt is made known again by a look-up, never blindly.
                look = effect.verb == Verb.SUBMIT and job.submit_tries > 0
                call = Call(job.id, effect.attempt, look, effect.number)
                self.calls.want(lane, effect.verb, call)
        for ident in taken.recalls:
            job = self.view.jobs.get(ident)
            lane = self.lanes.of(job) if job is not None else None
            if job is not None and lane is not None:
                self.calls.want(lane, Verb.SUBMIT, Call(job.id, job.attempt, look=True))
        for answer in taken.answers:
            answer()
        records = taken.batch.records
        self.feed.publish(records)
        self.observers.publish(records)
        self.notices.publish(records)
        entries = entries_of(taken.batch)
        log_nexus(entries)
        self.observers.publish_nexus(entries)
        self.figures.committed(taken.batch, entries, seconds)
