"""`cm failures` and `cm rule-test` through a real daemon, whose world makes attempts fail."""

import json
from collections.abc import Iterator

import pytest
from client_setup import Cm, wait_until
from cmd_api.v1.campaign_pb2 import Campaign
from living_daemon import LivingDaemon

from cm_client import Client
from cmd_daemon.testing import Behaviour

FILE = """\
campaign: {name}
owner: me
stack: w1
butler: {{repo: demo, inputs: [a], output: u/me/{name}}}
facilities: [FrDF]
defaults: {{retry: {{attempts: 2, backoff: 1 s, backoff_max: 1 s}}}}
steps:
  isr:
    pipeline: x.yaml#a
    split: {{by: tract, ranges: ["1..3"]}}
    errors:
      - {{exit: 9, action: retry}}
"""

HOSTILE = "No flat of detector 12 found \x1b[31m[bold]<script>alert(1)</script>"
"""What the attempts say; the number differs in each."""


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivingDaemon]:
    made = LivingDaemon(tmp_path_factory.mktemp("failures"), "FrDF")
    behaviours = made.world("FrDF").behaviours
    for number in (1, 2, 3):
        # Group 3 is killed once and then does well; the others are never any good.
        bad = Behaviour(ok=False, exit_code=7, message=HOSTILE.replace("12", str(number)))
        if number == 3:
            bad = Behaviour(ok=False, exit_code=9, message="killed")
        for attempt in (1, 2):
            behaviours[f"camp/isr/{number}/process#{attempt}"] = bad
    behaviours["camp/isr/3/process#2"] = Behaviour(quanta={"isr": (10, 10)})
    with Client(made.target) as client:
        client.apply_campaign(FILE.format(name="camp"), start=True)
        client.apply_campaign(FILE.format(name="idle"))
        wait_until(lambda: _states(client) == {"HELD": 2, "ACCEPTED": 1})
    yield made
    made.close()


def _states(client: Client) -> dict[str, int]:
    campaign: Campaign = client.get_campaign("campaigns/camp")
    return {state: number for state, number in campaign.group_counts.items() if number}


@pytest.fixture
def cm(living: LivingDaemon) -> Cm:
    made = Cm(living.target)
    made.environment["COLUMNS"] = "100"
    return made


def test_failures_that_say_the_same_are_one_cause(cm: Cm) -> None:
    shown = cm.here("failures", "camp")
    assert shown.returncode == 0, shown.stderr
    words = " ".join(shown.stdout.split())
    assert "5 failures in camp, by cause" in words
    assert "4 × No flat of detector <n> found" in words
    assert "exit code 7 " in words
    assert "facilities FrDF 4" in words
    assert "--attempt 2" in words
    assert "cm logs camp/isr/" in words
    assert "1 × killed" in words
    assert "\x1b[31m" not in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 100


def test_the_rule_of_a_cause_matches_it(cm: Cm) -> None:
    causes = json.loads(cm.here("failures", "camp/isr", "--json").stdout)["causes"]
    rule = causes[0]["rule"]
    assert "No flat of detector .+ found" in rule
    answer = json.loads(cm.here("rule-test", "camp", "--rule", rule, "--json").stdout)
    asked = answer["rules"][0]
    assert (asked["failures"], asked["groups"]) == ("4", "2")


def test_rules_are_tried_together_with_those_there_are(cm: Cm) -> None:
    rule = '{message: "No flat .* found", action: fail}'
    answer = json.loads(cm.here("rule-test", "camp", "--rule", rule, "--json").stdout)
    asked, own = answer["rules"]
    assert (asked["steps"], own["steps"]) == ([], ["isr"])
    assert (asked["failures"], asked["attempts"], asked["groups"]) == ("4", "4", "2")
    assert (own["failures"], own["present_failures"]) == ("1", "1")
    fates = {
        (each["was"], each["present"], each["would"]): each["attempts"] for each in answer["fates"]
    }
    assert fates == {
        ("retry", "retry", "fail"): "2",
        ("hold", "hold", "fail"): "2",
        ("retry", "retry", "retry"): "1",
    }
    assert (answer["attempts"], answer["changed"], answer["unmatched"]) == ("5", "4", "0")


def test_the_first_rule_that_matches_wins(cm: Cm) -> None:
    def failures(*more: str) -> list[str]:
        told = cm.here("rule-test", "camp", "--rule", "{exit: 9, action: hold}", "--json", *more)
        return [rule["failures"] for rule in json.loads(told.stdout)["rules"]]

    assert failures() == ["1", "0"]
    assert failures("--after-present") == ["0", "1"]


def test_the_terminal_shows_what_would_be_otherwise(cm: Cm) -> None:
    shown = cm.here("rule-test", "camp", "--rule", "{exit: 7, action: fail}")
    assert shown.returncode == 0, shown.stderr
    words = " ".join(shown.stdout.split())
    assert "5 attempts of camp judged again; 4 would have come to something else" in words
    assert "ends its group" in words
    assert "Nothing was changed." in words
    assert "\x1b[31m" not in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 100
    nothing = cm.here("rule-test", "idle", "--rule", "{exit: 7, action: fail}").stdout
    assert "nothing to try the rules on" in nothing
    assert "No attempt of idle has failed" in cm.here("failures", "idle").stdout


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("{exit: 7}", "errors[0].action: this key is required"),
        ("{exit: 7, action: retrie}", "did you mean 'retry'?"),
        ("{message: '(a+)+', action: hold}", "--rule:1:"),
        ("{exit: 7, action: hold, up_to: 0.5}", "'up_to' goes with 'action: accept' only"),
        ("{exit: 7, acton: hold}", "did you mean 'action'?"),
        ("[", "this is not YAML"),
    ],
)
def test_a_rule_with_problems_is_refused_in_the_words_of_a_file(
    cm: Cm, rule: str, words: str
) -> None:
    shown = cm.here("rule-test", "camp", "--rule", rule)
    assert shown.returncode == 2
    assert words in shown.stderr


def test_rules_of_a_file_are_told_by_their_lines(cm: Cm, living: LivingDaemon) -> None:
    file = living.root / "rules.yaml"
    file.write_text("errors:\n  - {exit: 7, action: hold}\n  - exit: 9\n    action: nothing\n")
    shown = cm.here("rule-test", "camp", "--file", str(file))
    assert shown.returncode == 2
    assert f"{file}:4:13: errors[1].action:" in shown.stderr
    file.write_text("- {exit: 7, action: hold}\n- {exit: 9, action: fail}\n")
    answer = json.loads(cm.here("rule-test", "camp", "--file", str(file), "--json").stdout)
    assert [rule["failures"] for rule in answer["rules"]] == ["4", "1", "0"]


def test_wrong_use_and_unknown_names(cm: Cm) -> None:
    assert cm.here("rule-test", "camp").returncode == 2
    assert cm.here("rule-test", "camp", "--rule", " ").returncode == 2
    missing = cm.here("rule-test", "none", "--rule", "{exit: 7, action: hold}")
    assert (missing.returncode, "campaigns/none" in missing.stderr) == (1, True)
    assert cm.here("failures", "none").returncode == 1
