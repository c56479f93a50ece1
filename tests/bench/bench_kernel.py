"""What one transition costs in the kernel alone, in a small and in a large view.

    python tests/bench/bench_kernel.py [--profile]

Takes 500 groups of one process job through their whole life (placed, admitted, taken, seen, ended) in
views of 1,000 and of 100,000 groups: decide, merge into a batch, apply to the view. Prints
microseconds a state change and their ratio, which shows whether the cost depends on the size.
"""

import argparse
import cProfile
import gc
import pstats
import time

from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.decide import decide
from cmd_daemon.kernel.decision import Batch
from cmd_daemon.kernel.outcome import Outcome
from cmd_daemon.kernel.policy import JobTemplate, StepPolicy
from cmd_daemon.kernel.states import JobKind
from cmd_daemon.kernel.view import View

NOW = 1_767_225_600_000_000
SAMPLE = 500
ROUNDS = 7
DRIVERS = {"process": "null"}


def view_of(groups: int) -> View:
    """A running campaign with one step of so many groups."""
    view = View()
    steps = {"calib": StepPolicy(jobs=(JobTemplate("process", JobKind.PROCESS),))}
    applied = ev.CampaignApplied(
        campaign_id=None,
        name="bench",
        owner="pilot",
        ticket="",
        text="",
        parameters="",
        digest="",
        steps=steps,
        start=True,
    )
    view.apply(decide(view, applied, NOW))
    step_id = next(iter(view.steps))
    for start in range(0, groups, 5000):
        some = range(start, min(start + 5000, groups))
        shares = tuple(ev.NewGroup(f"{n:06}", "{}") for n in some)
        split = ev.StepSplit(step_id=step_id, groups=shares, last=some.stop == groups)
        view.apply(decide(view, split, NOW))
    return view


def live(view: View, groups: list[int]) -> int:
    """Take groups from READY to ACCEPTED; returns the records written."""
    batch = Batch()

    def do(event: ev.Event) -> None:
        decision = decide(view, event, NOW)
        expected: dict[int, int] = {}
        for known, changed in (
            (view.campaigns, decision.campaigns),
            (view.steps, decision.steps),
            (view.groups, decision.groups),
            (view.jobs, decision.jobs),
        ):
            for ident in changed:
                expected[ident] = known[ident].version  # type: ignore[index]
        batch.add(decision, expected)
        view.apply(decision)

    done = Outcome(True)
    for ident in groups:
        job = view.groups[ident].jobs[0]
        do(ev.GroupPlaced(group_id=ident, facility="USDF", drivers=DRIVERS))
        do(ev.JobAdmitted(job_id=job, attempt=0))
        do(ev.JobTaken(job_id=job, attempt=1, ref="ref"))
        do(ev.JobSeen(job_id=job, attempt=1, running=True))
        do(ev.JobEnded(job_id=job, attempt=1, outcome=done))
    return len(batch.records)


def measure(groups: int) -> float:
    """Microseconds a state change, the best of several rounds."""
    view = view_of(groups)
    gc.collect()
    gc.freeze()
    best = float("inf")
    for _ in range(min(ROUNDS, groups // SAMPLE - 1)):
        some = list(view.groups)[:SAMPLE]
        began = time.perf_counter()
        records = live(view, some)
        best = min(best, (time.perf_counter() - began) / records * 1e6)
    gc.unfreeze()
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", action="store_true", help="show where the time goes")
    if parser.parse_args().profile:
        view = view_of(5000)
        profile = cProfile.Profile()
        profile.runcall(live, view, list(view.groups)[:3000])
        pstats.Stats(profile).sort_stats("tottime").print_stats(22)
        return
    small, large = measure(1_000), measure(100_000)
    print(f"kernel, us a state change:  1k-group view {small:6.2f}")
    print(f"                          100k-group view {large:6.2f}")
    print(f"                                    ratio {large / small:6.2f}")


if __name__ == "__main__":
    main()
