"""What the states of a request and its tasks come to."""

import pytest

from cmd_daemon.hooks import ErrorClass, Phase
from cmd_panda.bps.states import Planned, matched, progress, verdict
from cmd_panda.records import RequestRecord, TaskRecord

NAME = "cmd_dp2_step1_g_process_a1_0123456789abcdef"
INIT = Planned(f"{NAME}_01_pipetaskInit_01", "pipetaskInit", 1, 0)
CAL = Planned(f"{NAME}_02_cal_01", "cal", 4, 12)
COADD = Planned(f"{NAME}_03_coadd_01", "coadd", 3, 3)
FINAL = Planned(f"{NAME}_04_finalJob_01", "finalJob", 1, 0)
PLAN = [INIT, CAL, COADD, FINAL]


def seen_with(*states: str, **counts: int) -> dict[str, TaskRecord]:
    """The tasks of the plan in these states, "" for one that is not there; `counts` are cal's."""
    return {
        each.name: TaskRecord(
            n, each.name, state, files=each.jobs, **(counts if each is CAL else {})
        )
        for n, (each, state) in enumerate(zip(PLAN, states, strict=False), start=1)
        if state
    }


def request(state: str) -> RequestRecord:
    return RequestRecord(7, NAME, state)


@pytest.mark.parametrize(
    ("states", "phase", "over", "doubtful"),
    [
        ((), Phase.QUEUED, False, False),
        (("defined",), Phase.QUEUED, False, False),
        (("pending", "registered"), Phase.QUEUED, False, False),
        (("running", "defined"), Phase.RUNNING, False, False),
        (("done", "running", "pending"), Phase.RUNNING, False, False),
        (("done", "finished", "failed", "running"), Phase.RUNNING, False, False),
        (("done", "finished", "failed"), Phase.RUNNING, False, True),
        (("done", "done", "done", "done"), Phase.RUNNING, True, False),
        (("failed", "failed", "failed", "done"), Phase.RUNNING, True, False),
        (("done", "done", "done", "failed"), Phase.RUNNING, True, False),
        (("done", "paused"), Phase.RUNNING, False, False),
        (("done", "exhausted", "pending"), Phase.RUNNING, False, False),
        (("done", "exhausted"), Phase.RUNNING, False, True),
        (("aborted", "aborted", "aborted"), Phase.RUNNING, False, True),
    ],
)
def test_tasks_alone(states: tuple[str, ...], phase: Phase, over: bool, doubtful: bool) -> None:
    told = verdict(PLAN, seen_with(*states), None, cancelled=False)
    assert (told.phase, told.over, told.doubtful) == (phase, over, doubtful)


@pytest.mark.parametrize("final", ["failed", "finished", "aborted", "broken"])
def test_outputs_are_taken_in_by_us_where_the_final_job_did_not(final: str) -> None:
    assert not verdict(PLAN, seen_with("done", "done", "done", "done"), None, False).aggregate
    assert verdict(PLAN, seen_with("done", "done", "done", final), None, False).aggregate


@pytest.mark.parametrize(
    ("state", "cancelled", "over", "why"),
    [
        ("Transforming", False, False, ""),
        ("New", False, False, ""),
        ("Finished", False, True, ""),
        ("SubFinished", False, True, ""),
        ("Failed", False, True, ""),
        ("Cancelled", True, True, "cancelled"),
        ("Cancelled", False, True, "not by this daemon"),
        ("Expired", False, True, "expired"),
        ("Suspended", False, False, ""),
        ("ToCancel", True, False, ""),
    ],
)
def test_request_where_tasks_leave_a_doubt(
    state: str, cancelled: bool, over: bool, why: str
) -> None:
    told = verdict(PLAN, seen_with("done", "failed"), request(state), cancelled)
    assert told.over == over
    assert (why in told.why) if why else told.why == ""
    assert told.error_class is None


def test_suspended_is_held_with_a_reason() -> None:
    told = verdict(PLAN, seen_with("done", "running"), request("Suspended"), False)
    assert not told.over
    assert "request 7 is Suspended" in told.note


@pytest.mark.parametrize("state", ["SubFinished", "Failed"])
def test_a_paused_task_is_not_the_end_though_idds_takes_it_for_one(state: str) -> None:
    """iDDS calls a paused task sub-finished, and the request with it."""
    told = verdict(PLAN, seen_with("done", "paused"), request(state), False)
    assert not told.over
    assert "paused" in told.note


def test_a_parked_task_is_for_a_person() -> None:
    seen = seen_with("done", "exhausted", "done", "done")
    seen[CAL.name] = TaskRecord(2, CAL.name, "exhausted", error="no queue <b>would</b> take it")
    told = verdict(PLAN, seen, None, False)
    assert told.over
    assert told.error_class is ErrorClass.PERMANENT
    assert "exhausted" in told.why
    assert "no queue would take it" in told.why


def test_progress_counts_quanta_by_files_and_not_by_jobs() -> None:
    seen = seen_with("done", "running", "", finished=2, failed=1)
    told = progress(PLAN, seen, "")
    assert (told.done, told.failed, told.total, told.unit) == (6, 3, 15, "quanta")
    more = progress(PLAN, seen_with("done", "running", finished=9, failed=9), "")
    assert (more.done, more.failed) == (12, 3), "never more than there are"


def test_tasks_are_known_by_what_idds_makes_of_their_names() -> None:
    tasks = [
        TaskRecord(9, f"{CAL.name}_7_31_1", "running"),
        TaskRecord(3, f"{CAL.name}_7_31", "failed"),
        TaskRecord(4, FINAL.name, "defined"),
        TaskRecord(5, f"{CAL.name}_x", "done"),
        TaskRecord(6, f"{NAME}_02_cal_011_7_30", "done"),
        TaskRecord(7, f"{NAME}_02_cal", "done"),
    ]
    found = {name: task.id for name, task in matched(PLAN, tasks).items()}
    assert found == {CAL.name: 9, FINAL.name: 4}, "the newest, where iDDS has tried again"
