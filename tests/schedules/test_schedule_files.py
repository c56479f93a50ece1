"""Times over daylight-saving changes, and what is wrong with a schedule file."""

from datetime import UTC, datetime

import pytest
from schedule_files import TEMPLATE, schedule_file

from cmd_daemon.hooks.ports import FacilityInfo
from cmd_daemon.kernel.states import JobKind
from cmd_daemon.spec import CampaignFileError, Crontab, Known, read_schedule
from cmd_local.plugin import cmd_register_splitters


def at(text: str) -> int:
    """Microseconds of a time in UTC."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def told(micros: int) -> str:
    """A time in UTC as text."""
    return datetime.fromtimestamp(micros / 1e6, UTC).strftime("%Y-%m-%d %H:%M")


def times(cron: str, zone: str, after: str, count: int) -> list[str]:
    """The next times of a schedule."""
    crontab, moment, found = Crontab(cron, zone), at(after), []
    for _ in range(count):
        moment = crontab.after(moment)
        found.append(told(moment))
    return found


def facility(name: str, *stacks: str) -> FacilityInfo:
    """A facility with these stacks."""
    drivers = dict.fromkeys(JobKind, "fake")
    return FacilityInfo(
        name, 10, 2**36, 8, 86_400.0, {"main": "/r"}, dict.fromkeys(stacks, "/p"), drivers
    )


KNOWN = Known(
    facilities={
        "HERE": facility("HERE", "w_2026_5", "w_2026_46", "v30_0_0"),
        "THERE": facility("THERE", "w_2026_5", "w_2026_44"),
    },
    splitters={each.name: each for each in cmd_register_splitters()},
    algorithms=frozenset({"balanced", "share", "pinned", "locality"}),
    drivers=frozenset({"fake"}),
    kinds=frozenset(JobKind),
)
NOW = at("2026-11-29 12:01")


def read(text: str, template: str = TEMPLATE):
    """The plan of a schedule file."""
    return read_schedule(text, template, file="nightly.yaml", known=KNOWN, now=NOW)


def problems(text: str, template: str = TEMPLATE) -> list[str]:
    """What is said of a schedule file."""
    with pytest.raises(CampaignFileError) as caught:
        read(text, template)
    return [str(each) for each in caught.value.problems]


def test_a_time_that_the_clock_leaves_out_fires_after_the_gap() -> None:
    # Clocks in California go from 2:00 to 3:00 on 2026-03-08, 10:00 UTC.
    found = times("30 2 * * *", "America/Los_Angeles", "2026-03-07 12:00", 2)
    assert found == ["2026-03-08 10:00", "2026-03-09 09:30"]


def test_a_time_that_comes_twice_fires_once() -> None:
    # Clocks in France go from 3:00 back to 2:00 on 2026-10-25, 1:00 UTC.
    found = times("30 2 * * *", "Europe/Paris", "2026-10-24 12:00", 2)
    assert found == ["2026-10-25 00:30", "2026-10-26 01:30"]


def test_every_hour_is_every_hour_whatever_the_clock_says() -> None:
    found = times("0 * * * *", "Europe/Paris", "2026-10-24 23:30", 4)
    assert found == [f"2026-10-25 0{hour}:00" for hour in range(4)]


def test_the_first_of_the_month_at_six_by_the_local_clock() -> None:
    found = times("0 6 1 * *", "America/Los_Angeles", "2026-10-15 00:00", 3)
    assert found == ["2026-11-01 14:00", "2026-12-01 14:00", "2027-01-01 14:00"]


@pytest.mark.parametrize(
    ("cron", "zone", "words"),
    [
        ("* * * * *", "UTC", "five minutes"),
        ("0,3 * * * *", "UTC", "five minutes"),
        ("0 6 1 *", "UTC", "five fields"),
        ("0 25 * * *", "UTC", "hour"),
        ("0 0 31 2 *", "UTC", "day"),
        ("0 6 * * *", "Mars/Olympus", "time zone"),
        ("0 6 * * *", "../../etc/passwd", "time zone"),
        ("rm -rf / * *", "UTC", "cron expression"),
    ],
)
def test_times_that_cannot_be_are_refused_in_words(cron: str, zone: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Crontab(cron, zone)


def test_a_nickname_is_the_same_as_its_fields() -> None:
    assert times("@monthly", "UTC", "2026-11-29 00:00", 1) == ["2026-12-01 00:00"]


def test_date_time_and_the_newest_stack_are_put_in() -> None:
    plan = read(schedule_file())
    (campaign,) = plan.launch(at("2026-11-30 01:05"), KNOWN)
    assert campaign.name == "nightly-20261130-0105"
    assert campaign.stack == "w_2026_5", "the newest that all facilities have"


def test_date_and_time_are_those_of_the_schedules_clock() -> None:
    plan = read(schedule_file(cron="0 20 * * *") + "zone: America/Los_Angeles\n")
    due = plan.crontab.after(at("2026-11-29 22:00"))
    (campaign,) = plan.launch(due, KNOWN)
    assert campaign.name == "nightly-20261129-2000"


MATRIX = """\
campaign: small-${FACILITY}-${DATE}-${TIME}
owner: me
stack: ${STACK}
butler: {repo: main, inputs: [a], output: "u/me/${FACILITY}/${DATE}${TIME}"}
facilities: ["${FACILITY}"]
steps: {one: {pipeline: x.yaml#a}}
"""


def test_a_matrix_launches_one_campaign_a_facility_with_its_newest_stack() -> None:
    text = 'schedule: m\nowner: me\ncron: "0 6 1 * *"\ntemplate: t.yaml\nmatrix: {FACILITY: [HERE, THERE]}\n'
    plans = read(text, MATRIX).launch(at("2026-12-01 06:00"), KNOWN)
    assert [(each.name, each.stack) for each in plans] == [
        ("small-HERE-20261201-0600", "w_2026_46"),
        ("small-THERE-20261201-0600", "w_2026_44"),
    ]


def test_a_matrix_whose_campaigns_have_one_name_is_refused() -> None:
    text = 'schedule: m\nowner: me\ncron: "0 6 1 * *"\ntemplate: t.yaml\nmatrix: {FACILITY: [HERE, THERE]}\n'
    (said,) = problems(text, MATRIX.replace("small-${FACILITY}-", "small-"))
    assert "several campaigns of the matrix are called small-20261201-0600" in said
    assert "${FACILITY}" in said


def test_a_name_that_does_not_change_is_refused_at_its_line() -> None:
    (said,) = problems(schedule_file(), TEMPLATE.replace("nightly-${DATE}-${TIME}", "nightly", 1))
    assert said.startswith("nightly.yaml:4:11: template: the campaign would be called nightly each")
    assert "${DATE}" in said


def test_every_problem_of_the_file_is_told_with_its_line() -> None:
    text = (
        'schedule: "a b"\nowner: me\ncron: "0 25 * * *"\ntemplate: t.yaml\noverlap: wait\nlat: 3 h\n'
        "set: {A: 1}\nmatrix: {A: [1], B: []}\n"
    )
    said = problems(text)
    for words in (
        "nightly.yaml:1:11: schedule:",
        "nightly.yaml:3:7: cron: is no cron expression: bad hour",
        "nightly.yaml:5:10: overlap: must be one of skip, queue, replace",
        "nightly.yaml:6:1: lat: unknown key (did you mean 'late'?)",
        "matrix.B: must not be empty",
        "set.A: is in 'matrix' too",
    ):
        assert any(words in each for each in said), (words, said)


def test_problems_of_the_template_are_those_of_a_campaign_file() -> None:
    said = problems(schedule_file(), TEMPLATE.replace("facilities: [HERE]", "facilities: [HER]"))
    assert any("small.yaml:5" in each and "did you mean 'HERE'" in each for each in said)


def test_a_stack_that_is_nowhere_is_told() -> None:
    said = problems(schedule_file() + "stacks: d_*\n")
    assert any("no stack matches 'd_*' at HERE, THERE" in each for each in said)


@pytest.mark.parametrize("text", ["", "[]", "schedule", "\0", "schedule: x\n" * 3, "a: &a [*a]"])
def test_what_is_no_schedule_file_is_refused(text: str) -> None:
    assert problems(text)
