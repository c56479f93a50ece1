"""The error table: the package's own lines, those of the configuration, and the passive mode."""

import pytest

from cmd_daemon.hooks import ErrorClass
from cmd_panda.errors import ErrorTable, package_rules
from cmd_panda.records import SOURCES, JobError
from cmd_panda.settings import ErrorRule

OOM = JobError("pilot", 1212, "Payload ran out of memory")
FAILED = JobError("pilot", 1305, "Failed to execute payload: test")


def table(*rules: ErrorRule, passive: bool = False) -> ErrorTable:
    return ErrorTable(rules, passive, "USDF")


def test_each_source_has_lines_that_say_what_to_do() -> None:
    rules = package_rules()
    assert {rule.source for rule in rules} == {*SOURCES, "trans", "jedi"}
    assert all(rule.action for rule in rules)
    coded = [(rule.source, rule.code) for rule in rules if not rule.match]
    assert len(coded) == len(set(coded)), "a second line for a code would never be read"
    assert len(rules) > 100


@pytest.mark.parametrize(
    ("errors", "expected", "words"),
    [
        (
            [OOM],
            ErrorClass.TRANSIENT,
            "pilot 1212 (out of memory): Payload ran out of memory -> ask",
        ),
        ([JobError("pilot", 1326)], ErrorClass.PERMANENT, "-> bring the input to the facility"),
        ([JobError("pilot", 4242, "new")], ErrorClass.TRANSIENT, "pilot 4242: new"),
        ([FAILED, JobError("trans", 127)], ErrorClass.PERMANENT, "trans 127 (command not found)"),
        ([JobError("trans", 42)], ErrorClass.TRANSIENT, "trans 42 -> see the payload's log"),
        ([JobError("taskBuffer", 300)], ErrorClass.TRANSIENT, "worker ended before the job"),
        ([JobError("jedi", 0, "parent task 7 failed to complete")], ErrorClass.PERMANENT, "parent"),
        ([JobError("jedi", 0, "something new")], ErrorClass.TRANSIENT, "jedi: something new"),
        ([], ErrorClass.TRANSIENT, ""),
    ],
)
def test_errors_are_classed_and_named(
    errors: list[JobError], expected: ErrorClass, words: str
) -> None:
    verdict = table().judge(errors)
    assert verdict.error_class is expected
    assert words in verdict.words


def test_lines_of_the_configuration_go_first() -> None:
    mine = ErrorRule(
        source="pilot", code=1305, match="CALIB", error_class="permanent", action="redo step1"
    )
    judged = table(mine)
    assert judged.judge([FAILED]).error_class is ErrorClass.TRANSIENT, "its words do not match"
    verdict = judged.judge([JobError("pilot", 1305, "no calib for 2026")])
    assert verdict.error_class is ErrorClass.PERMANENT
    assert verdict.words.endswith("-> redo step1")


def test_a_line_may_be_for_a_whole_source() -> None:
    mine = ErrorRule(source="sup", error_class="permanent")
    assert table(mine).judge([JobError("sup", 77)]).error_class is ErrorClass.PERMANENT


def test_passive_it_only_tells_what_it_would_say(capfd: pytest.CaptureFixture[str]) -> None:
    verdict = table(passive=True).judge([JobError("pilot", 1326)])
    assert verdict.error_class is None
    assert "no replica" in verdict.words
    out = "".join(capfd.readouterr())
    assert "would_say=Permanent" in out
    assert "USDF" in out
