"""The daemon's shell in miniature around the real kernel: inbox, group commit, calls, timers, crash.

Every action is one small step chosen by a `Random`, so that the same seed walks the same way, and
the invariants can be looked at between any two of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import model_control
from model_world import FINAL, Outside, ToyStore, campaign_steps, changed_steps

from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.commands import Command, read
from cmd_daemon.kernel.decide import decide
from cmd_daemon.kernel.decision import Batch, Decision
from cmd_daemon.kernel.draft import Draft, Refused
from cmd_daemon.kernel.entities import Campaign, Entity, Group, Step
from cmd_daemon.kernel.invariants import Gone, problems
from cmd_daemon.kernel.on_job import admissible
from cmd_daemon.kernel.outcome import ErrorClass, Outcome
from cmd_daemon.kernel.records import Effect
from cmd_daemon.kernel.states import (
    FINAL_CAMPAIGN,
    FINAL_GROUP,
    CampaignState,
    Desired,
    GroupState,
    JobState,
    StepState,
)
from cmd_daemon.kernel.view import View, splits
from cmd_daemon.kernel.waiting import WaitKind, actions, waits_for

SECOND = 1_000_000
START = 1_767_225_600 * SECOND
FACILITIES = ("USDF", "FrDF")


@dataclass
class Call:
    """An outside call that is to be made, or (`begun`) under way."""

    job_id: int
    attempt: int
    verb: str
    look: bool
    begun: bool = False
    only_look: bool = False
    number: int = 0


@dataclass
class ToyDaemon:
    """One daemon with its store and the world around it, which outlive its crashes."""

    rng: Random
    store: ToyStore = field(default_factory=ToyStore)
    now: int = START
    findable: bool = True

    def __post_init__(self) -> None:
        self.outside = Outside(self.rng)
        self.recover()

    # --- the shell -------------------------------------------------------------------------

    def recover(self) -> None:
        """Start anew from what is committed, and nothing else."""
        rows = self.store.rows
        self.view = View()
        self.view.commandable = model_control.COMMANDABLE
        self.view.patience = 2000 * SECOND
        self.pending, self.effects, self.recalls = Batch(), [], []
        self.inbox: list[ev.Event] = []
        self.late: list[ev.Event] = []
        self.calls: list[Call] = []
        self.all: dict[int, Entity] = dict(rows)
        campaigns = [
            c
            for c in rows.values()
            if isinstance(c, Campaign) and c.state is not CampaignState.ARCHIVED
        ]
        live = {c.id for c in campaigns}
        steps = [s for s in rows.values() if isinstance(s, Step) and s.campaign_id in live]
        groups = [g for g in rows.values() if isinstance(g, Group) and g.state not in FINAL_GROUP]
        jobs = [rows[ident] for g in groups for ident in g.jobs]
        self.view.load(campaigns, steps, groups, jobs)  # type: ignore[arg-type]
        self.view.next_id = max(self.view.next_id, *rows, 0) + 1
        self.view.facilities.update(self.store.facilities)
        for step in steps:
            if splits(step):
                self.view.group_names[step.id] = {
                    name for step_id, name in self.store.names if step_id == step.id
                }
        for job in self.view.jobs.values():
            if job.state is JobState.SUBMITTING and job.due_at is None:
                self.calls.append(Call(job.id, job.attempt, "submit", True))
            elif job.state is JobState.RUNNING and job.cancelling:
                self.calls.append(Call(job.id, job.attempt, "cancel", False))
            elif queue := read(job.commands):
                first = queue[0]
                call = Call(job.id, job.attempt, first.command, False, number=first.number)
                self.calls.append(call)
        for campaign in self.view.campaigns.values():
            self._sweep(campaign.id)
        for facility in self.view.facilities:
            self._sweep_facility(facility)

    def decide(self, event: ev.Event, wish: bool = False) -> Decision | None:
        """Decide and apply one event; None if a wish was refused."""
        try:
            decision = decide(self.view, event, self.now)
        except Refused:
            if not wish:
                raise  # an observation is taken or void, never refused
            return None
        if decision:
            self._apply(decision)
        return decision

    def _apply(self, decision: Decision) -> None:
        moved = any(record.cause == "GroupMoved" for record in decision.records)
        expected: dict[int, int] = {}
        changed: dict[int, Entity] = {}
        for entities in (decision.campaigns, decision.steps, decision.groups, decision.jobs):
            changed.update(entities)
        for ident, entity in changed.items():
            old = self.all.get(ident)
            assert (old is None) == (ident in decision.created), entity
            if old is None:
                continue
            expected[ident] = old.version
            assert entity.version == old.version + 1, (old, entity)
            if old.state in FINAL[type(old)] and not (moved and old.state is JobState.SUCCEEDED):
                assert entity.state in (old.state, CampaignState.ARCHIVED), (old, entity)
        self.pending.add(decision, expected)
        self.effects += decision.effects + decision.again
        self.recalls += decision.recalls
        self.view.apply(decision)
        self.all.update(changed)

    def commit(self) -> None:
        """One transaction; then, and only then, the calls it intends."""
        self.store.commit(self.pending)
        for effect in self.effects:
            job = self.view.jobs.get(effect.job_id)
            if job is not None:
                look = effect.verb == "submit" and job.submit_tries > 0
                self.calls.append(
                    Call(job.id, effect.attempt, effect.verb, look, number=effect.number)
                )
        for ident in self.recalls:
            job = self.view.jobs.get(ident)
            if job is not None:
                self.calls.append(Call(ident, job.attempt, "submit", True))
        self.pending, self.effects, self.recalls = Batch(), [], []

    def outbox(self) -> dict[str, Effect]:
        """The outbox as it will be once the pending batch is committed."""
        kept = {k: e for k, e in self.store.effects.items() if k not in self.pending.effects_done}
        return kept | self.pending.effects

    def _sweep(self, campaign_id: int) -> None:
        for ident in self.view.open_groups(campaign_id):
            self.inbox.append(ev.GroupsSwept(campaign_id=campaign_id, group_ids=(ident,)))

    def _sweep_facility(self, facility: str) -> None:
        for ident in self.view.groups_at(facility):
            self.inbox.append(ev.FacilitySwept(facility=facility, group_ids=(ident,)))

    # --- single actions ----------------------------------------------------------------------

    def act_inbox(self) -> None:
        """Decide one event out of the inbox, not always the oldest, some of them twice."""
        if not self.inbox:
            return
        event = self.inbox.pop(self.rng.randrange(len(self.inbox)))
        self.decide(event)
        if not isinstance(event, ev.SubmitFailed) and self.rng.random() < 0.15:
            if self.rng.random() < 0.3:
                self.decide(event)
            else:
                self.late.append(event)

    def act_late(self) -> None:
        """Something known comes once more, long after."""
        if self.late:
            self.decide(self.late.pop(self.rng.randrange(len(self.late))))

    def act_commit(self) -> None:
        """Commit what is pending."""
        self.commit()

    def act_call(self) -> None:
        """Begin a call, or have one that was begun answered."""
        if not self.calls:
            return
        call = self.rng.choice(self.calls)
        if call.number:  # one at a time for each attempt, in order
            call = next(c for c in self.calls if c.number and c.job_id == call.job_id)
        wanted = JobState.SUBMITTING if call.verb == "submit" else JobState.RUNNING
        job = self.view.jobs.get(call.job_id)
        if not call.begun:
            if job is None or job.attempt != call.attempt or job.state is not wanted:
                self.calls.remove(call)
                return
            if call.number and not model_control.still_wanted(self, call, job):
                self.calls.remove(call)
                return
            call.begun, call.only_look = True, job.cancelling
            return
        self.calls.remove(call)
        if job is None:
            return
        key = self.view.key(job, call.attempt)
        told = {"job_id": call.job_id, "attempt": call.attempt}
        if call.number:
            self.inbox.append(model_control.ask(self.outside, call, key))
            return
        if call.verb == "cancel":
            if not self.outside.cancel(key):
                self.inbox.append(ev.CancelFailed(**told, message="no answer"))
            return
        self._submit(call, key, told)

    def _submit(self, call: Call, key: str, told: dict[str, int]) -> None:
        repeatable = self.findable
        if call.look or call.only_look:
            found = self.outside.find(key) if self.findable else ErrorClass.UNKNOWN
            if isinstance(found, ErrorClass):
                self.inbox.append(
                    ev.SubmitFailed(
                        **told, error_class=found, message="unclear", repeatable=repeatable
                    )
                )
                return
            if found is not None:
                self.inbox.append(ev.JobTaken(**told, ref=found))
                return
            if call.only_look:
                self.inbox.append(ev.JobAbsent(**told))
                return
        answer = self.outside.submit(key)
        if isinstance(answer, str):
            self.inbox.append(ev.JobTaken(**told, ref=answer))
        else:
            error, words = answer
            self.inbox.append(
                ev.SubmitFailed(**told, error_class=error, message=words, repeatable=repeatable)
            )

    def act_observe(self) -> None:
        """Look at a job outside."""
        running = [j for j in self.view.jobs.values() if j.state is JobState.RUNNING]
        if not running:
            return
        job = self.rng.choice(running)
        seen = self.outside.observe(self.view.key(job), job.kind)
        told = {"job_id": job.id, "attempt": job.attempt}
        if isinstance(seen, Outcome):
            self.inbox.append(ev.JobEnded(**told, outcome=seen))
        elif seen == "GONE":
            self.inbox.append(ev.JobGone(**told))
        else:
            progress = f'{{"done": {self.rng.randrange(3)}}}'
            self.inbox.append(ev.JobSeen(**told, running=seen == "RUNNING", progress=progress))

    def act_admit(self) -> None:
        """Give a slot to a job, whether or not it may start."""
        ready = [j for j in self.view.jobs.values() if j.state is JobState.READY]
        if ready:
            job = self.rng.choice(ready)
            self.decide(ev.JobAdmitted(job_id=job.id, attempt=job.attempt))

    def act_place(self) -> None:
        """Answer for a group that waits for its facility."""
        ready = [
            g for g in self.view.groups.values() if g.state is GroupState.READY and g.due_at is None
        ]
        if not ready:
            return
        group = self.rng.choice(ready)
        evil = self.outside.evil
        if self.rng.random() < evil / 2:
            permanent = self.rng.random() < 0.3
            self.inbox.append(
                ev.GroupNotPlaced(
                    group_id=group.id, message="all full", permanent=permanent, pinned=group.pinned
                )
            )
            return
        facility = group.pinned or self.rng.choice(["USDF", "FrDF"])
        drivers = {"process": f"panda-{facility}", "script": f"ssh-{facility}"}
        if self.rng.random() < evil / 5:
            del drivers["script"]
        self.inbox.append(
            ev.GroupPlaced(
                group_id=group.id, facility=facility, drivers=drivers, pinned=group.pinned
            )
        )

    def act_recall(self) -> None:
        """A facility takes no work any more: a group that has not begun there is placed again."""
        placed = [g for g in self.view.groups.values() if g.state is GroupState.PLACED]
        if placed:
            group = self.rng.choice(placed)
            facility = self.rng.choice(["USDF", "FrDF"])
            self.inbox.append(ev.GroupRecalled(group_id=group.id, facility=facility))

    def act_split(self) -> None:
        """Answer for a step that is being split: some more groups, the last, or an error."""
        preparing = [
            s
            for s in self.view.steps.values()
            if s.state is StepState.PREPARING and s.due_at is None
        ]
        if not preparing:
            return
        step = self.rng.choice(preparing)
        evil = self.outside.evil
        if self.rng.random() < evil / 2:
            error = self.rng.choice(list(ErrorClass))
            self.inbox.append(
                ev.SplitFailed(step_id=step.id, error_class=error, message="no answer")
            )
            return
        names = [f"{n:04}" for n in range(self.rng.randrange(4) if evil else 2)]
        names += [n for n in names if self.rng.random() < evil]
        groups = tuple(ev.NewGroup(name, "{}") for name in names)
        last = self.rng.random() < 0.7
        self.inbox.append(ev.StepSplit(step_id=step.id, groups=groups, last=last))

    def act_timers(self) -> None:
        """Fire what is due."""
        for ident, entity in list(self.all.items()):
            due = getattr(entity, "due_at", None)
            if due is not None and due <= self.now:
                self.inbox.append(ev.TimerFired(entity_id=ident, due_at=due))

    def act_clock(self) -> None:
        """Time passes; now and then the machine's clock jumps, backwards too."""
        jump = self.rng.choice([1, 5, 30, 60, 120, 300, 4000, -100])
        self.now += jump * SECOND

    def act_crash(self) -> None:
        """kill -9. Calls under way may still have reached the outside; no answer comes back."""
        for call in self.calls:
            job = self.view.jobs.get(call.job_id)
            sent = call.begun and call.verb == "submit" and not (call.only_look or call.look)
            if job is None or self.rng.random() < 0.5:
                continue
            if sent:
                self.outside.submit(self.view.key(job, call.attempt))
            elif call.begun and call.number:
                self.outside.control(self.view.key(job, call.attempt), call.verb)
        self.recover()

    # --- persons ---------------------------------------------------------------------------

    def act_apply(self) -> None:
        """A person applies a file: a new campaign, or a new version of one."""
        campaigns = list(self.view.campaigns.values())
        steps = campaign_steps(self.rng)
        ident: int | None = None
        name = f"c{len(self.all)}"
        if campaigns and (len(campaigns) > 2 or self.rng.random() < 0.5):
            campaign = self.rng.choice(campaigns)
            ident, name = campaign.id, campaign.name
            now = {n: self.view.steps[i].policy for n, i in self.view.steps_of[campaign.id].items()}
            steps = changed_steps(self.rng, now)
        start = self.rng.random() < 0.7
        event = ev.CampaignApplied(
            campaign_id=ident,
            name=name,
            owner="pilot",
            ticket="",
            text="",
            parameters="",
            digest="",
            steps=steps,
            start=start,
        )
        self.decide(event, wish=True)

    def act_person(self) -> None:
        """A person does something, sensible or not."""
        rng = self.rng
        verbs: list[Callable[[], ev.Event]] = []
        if self.view.campaigns:
            ident = rng.choice(list(self.view.campaigns))
            kinds = [
                ev.CampaignStarted,
                ev.CampaignPaused,
                ev.CampaignResumed,
                ev.CampaignArchived,
            ]
            verbs.append(lambda: rng.choice(kinds)(campaign_id=ident, actor="pilot"))
        if self.view.steps:
            step = rng.choice(list(self.view.steps))
            verbs.append(lambda: rng.choice([ev.StepSigned, ev.StepReleased])(step_id=step))
        if self.view.groups:
            group = rng.choice(list(self.view.groups))
            mode = rng.choice(["", "missing-only", "from-start"])
            verbs.append(lambda: ev.GroupRetried(group_id=group, mode=mode))
            others = [ev.GroupAccepted, ev.GroupHeld, ev.GroupReleased, ev.GroupRejected]
            verbs += 2 * [lambda: rng.choice(others)(group_id=group, actor="pilot")]
            to = rng.choice(["USDF", "FrDF"])
            verbs.append(lambda: ev.GroupMoved(group_id=group, facility=to, actor="pilot"))
        if verbs:
            self.wish(rng.choice(verbs)())

    def act_command(self) -> None:
        """A person says something about what is outside."""
        if (event := model_control.wish(self)) is not None:
            self.wish(event)

    def act_cancel(self) -> None:
        """A person cancels a campaign."""
        if self.view.campaigns:
            self.wish(ev.CampaignCancelled(campaign_id=self.rng.choice(list(self.view.campaigns))))

    def act_kill(self) -> None:
        """A person stops a facility, or takes that back."""
        facility = self.rng.choice(FACILITIES)
        if not self.view.killed(facility):
            self.wish(ev.FacilityKilled(facility=facility, actor="pilot", reason="smoke"))
        else:
            self.wish(ev.FacilityRevived(facility=facility, retry=self.rng.random() < 0.6))

    def wish(self, event: ev.Event) -> None:
        """A person's wish, with what the engine does about some of them."""
        if isinstance(event, ev.GroupRejected) and event.group_id in self.view.groups:
            group = self.view.groups[event.group_id]
            job = self.view.jobs[group.jobs[group.cursor]]
            if job.state is JobState.UNCERTAIN:
                self.outside.forgotten.add(self.view.key(job))
        if not self.decide(event, wish=True):
            return
        if isinstance(event, ev.CampaignCancelled | ev.CampaignPaused | ev.CampaignResumed):
            self._sweep(event.campaign_id)
        elif isinstance(event, ev.FacilityKilled | ev.FacilityRevived):
            self._sweep_facility(event.facility)

    # --- proof -----------------------------------------------------------------------------

    def likely(self) -> list[str]:
        """Actions to choose from, as often as they should be chosen; those without effect left out."""
        states = {job.state for job in self.view.jobs.values()}
        found = ["act_clock", "act_clock", "act_timers", "act_timers"]
        found += ["act_inbox"] * 12 * bool(self.inbox)
        found += ["act_call"] * 12 * bool(self.calls)
        found += ["act_commit"] * 4 * bool(self.pending)
        found += ["act_admit"] * 6 * (JobState.READY in states)
        found += ["act_observe"] * 8 * (JobState.RUNNING in states)
        found += ["act_command"] * 8 * (JobState.RUNNING in states)
        found += ["act_place"] * 4 * bool(self.view.groups)
        found += ["act_recall"] * bool(self.view.groups)
        found += ["act_split"] * 3
        found += ["act_person"] * 2
        found += ["act_late"] * bool(self.late)
        rare = {0: "act_crash", 1: "act_crash", 2: "act_apply", 3: "act_apply", 4: "act_cancel"}
        rare |= dict.fromkeys(range(5, 8 + 4 * any(map(self.view.killed, FACILITIES))), "act_kill")
        dice = self.rng.randrange(200)
        return [rare[dice]] if dice in rare else found

    def walk(self, steps: int) -> None:
        """Many actions, each likely to do something."""
        for _ in range(steps):
            self.step(self.rng.choice(self.likely()))

    def step(self, name: str) -> None:
        """One action, then everything that must hold."""
        getattr(self, name)()
        self.check()

    def check(self) -> None:
        """Raise AssertionError if an invariant is broken."""
        found = problems(self.view, self.outbox(), self.gone())
        assert not found, found
        model_control.check(self)
        twice = {key: n for key, n in self.outside.ledger.items() if n > 1}
        assert not twice, f"ran more than once: {twice}"
        if not any(isinstance(event, ev.FacilitySwept) for event in self.inbox):
            for group in self.view.groups.values():
                self._stands_still(group)
        for entity in (*self.view.campaigns.values(), *self.view.steps.values()):
            self._can_be_helped(entity)
        for group in self.view.groups.values():
            self._can_be_helped(group)

    def _stands_still(self, group: Group) -> None:
        """Where the kill switch was used and its sweep is through, nothing goes on and all is ended."""
        if not self.view.killed(group.facility):
            return
        if self.view.campaigns[group.campaign_id].desired is Desired.CANCEL:
            return
        assert group.state not in (GroupState.PLACED, GroupState.RUNNING), group
        job = self.view.jobs[group.jobs[group.cursor]]
        if job.state in (JobState.SUBMITTING, JobState.RUNNING):
            assert job.cancelling, job

    def _can_be_helped(self, entity: Entity) -> None:
        """Who needs a person is told what the person can do."""
        waits = waits_for(self.view, entity)
        if any(w.kind is WaitKind.PERSON for w in waits) and not (
            isinstance(entity, Step) and entity.state is StepState.WAITING
        ):
            assert actions(self.view, entity), (entity, waits)

    def gone(self) -> dict[int, Gone]:
        """What the final groups came to, by step."""
        found: dict[int, Gone] = {}
        for entity in self.all.values():
            if isinstance(entity, Group) and entity.state in FINAL_GROUP:
                gone = found.setdefault(entity.step_id, Gone())
                gone.groups[str(entity.state)] += 1
                gone.jobs.update(str(self.all[j].state) for j in entity.jobs)
                gone.quanta_expected += entity.quanta_expected
                gone.quanta_succeeded += entity.quanta_succeeded
                gone.quanta_lost += entity.quanta_lost
        return found

    def drain(self) -> None:
        """Peace: the outside answers truly, persons do what is suggested. All campaigns must end."""
        self.outside.evil = 0.0
        for facility in filter(self.view.killed, FACILITIES):
            if self.rng.random() < 0.5:  # else somebody has to find that out, and do it
                self.wish(ev.FacilityRevived(facility=facility, retry=self.rng.random() < 0.5))
        for _ in range(400):
            self._drain_round()
            if all(c.state in FINAL_CAMPAIGN for c in self.view.campaigns.values()):
                break
        else:
            stuck = [
                (e.state, waits_for(self.view, e))
                for e in (*self.view.campaigns.values(), *self.view.groups.values())
            ]
            raise AssertionError(f"never came to an end: {stuck}")
        self.commit()
        self.check()
        assert not self.view.groups
        assert not self.view.jobs
        assert not self.store.effects
        assert not self.outside.live(), "left running outside"
        for entity in self.store.rows.values():
            assert entity.state in FINAL[type(entity)], entity

    def _drain_round(self) -> None:
        self.now += 600 * SECOND
        self.act_timers()
        for _ in range(len(self.view.groups) + 2):
            self.act_split()
            self.act_place()
            self.act_observe()
            while self.inbox:
                self.decide(self.inbox.pop(0))
        for job in list(self.view.jobs.values()):
            if admissible(Draft(self.view, ev.Event(), self.now), job):
                self.decide(ev.JobAdmitted(job_id=job.id, attempt=job.attempt))
        self.commit()
        while self.calls:
            self.act_call()
        while self.inbox:
            self.decide(self.inbox.pop(0))
        for entity in (*self.view.campaigns.values(), *self.view.steps.values()):
            self._help(entity)
        for group in list(self.view.groups.values()):
            self._help(group)
            wanted = group.pinned or FACILITIES[0]
            if group.state is GroupState.READY and self.view.killed(wanted):
                # By its pin, or because all are killed, it has nowhere else to go.
                self.wish(ev.FacilityRevived(facility=wanted, retry=True))
        self.check()

    def _help(self, entity: Entity) -> None:
        """Do one of the things that `actions` suggests for an entity that needs a person."""
        kinds = {w.kind for w in waits_for(self.view, entity)}
        if isinstance(entity, Group) and model_control.may_stand(self.view, entity):
            self.wish(model_control.said(self.view, entity, Command.RESUME))
        if WaitKind.PERSON not in kinds:
            return
        told = actions(self.view, entity)
        if not told:  # a step that waits for its campaign to be started
            return
        words = self.rng.choice(told).split()
        ident, mode = entity.id, words[-1].removeprefix("--") if words[-1][:2] == "--" else ""
        events: dict[str, ev.Event] = {
            "start": ev.CampaignStarted(campaign_id=ident),
            "resume": ev.CampaignResumed(campaign_id=ident),
            "cancel": ev.CampaignCancelled(campaign_id=ident),
            "sign": ev.StepSigned(step_id=ident),
            "retry": ev.GroupRetried(group_id=ident, mode=mode),
            "accept": ev.GroupAccepted(group_id=ident),
            "reject": ev.GroupRejected(group_id=ident),
            "release": ev.GroupReleased(group_id=ident),
            "move": ev.GroupMoved(group_id=ident, facility="USDF"),
        }
        if words[1] == "release" and isinstance(entity, Step):
            events["release"] = ev.StepReleased(step_id=ident)
        if words[1] in ("pause", "resume") and isinstance(entity, Group):
            events[words[1]] = model_control.said(self.view, entity, Command(words[1]))
        if words[1] == "revive":
            events["revive"] = ev.FacilityRevived(facility=words[2], retry=True)
        if words[1] in events:
            self.wish(events[words[1]])
