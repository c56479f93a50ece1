"""`cm watch`, `cm events --follow` and `cm logs --follow` while things happen; terminals; Ctrl-C."""

import json
import signal
import threading

import grpc
import pytest
from client_setup import Cm, wait_until
from fake_daemon import FakeDaemon
from fake_world import HOSTILE, Fault
from terminal import Terminal

GROUP = "campaigns/DRP1/steps/coadd/groups/0000"


class Running:
    """`cm` with pipes; `lines` are those it has written so far."""

    def __init__(self, cm: Cm, *arguments: str) -> None:
        self.process = cm.start(*arguments)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(iter(self.process.stdout.readline, ""))

    def end(self) -> int:
        code = self.process.wait(timeout=20)
        self._reader.join(timeout=20)
        return code

    @property
    def errors(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read()


@pytest.mark.parametrize(("fate", "code"), [("ACCEPTED", 0), ("FAILED", 3), ("CANCELLED", 4)])
def test_watch_ends_with_the_fate(cm: Cm, fake: FakeDaemon, fate: str, code: int) -> None:
    watch = Running(cm, "watch", "DRP1")
    wait_until(lambda: fake.world.watchers)
    fake.move(GROUP, "ACCEPTED")
    fake.move("campaigns/DRP1", fate, "so it is")
    assert watch.end() == code, watch.errors
    text = "".join(watch.lines)
    assert "group DRP1/coadd/0000 RUNNING -> ACCEPTED" in text
    assert f"campaign DRP1 RUNNING -> {fate}" in text
    assert "so it is" in text


def test_watch_of_a_campaign_that_has_ended_ends_at_once(cm: Cm, fake: FakeDaemon) -> None:
    fake.move("campaigns/DRP1", "FAILED")
    assert cm("watch", "DRP1").returncode == 3
    assert cm("watch", "DRP1", "--json").returncode == 3


def test_watch_tells_once_what_waits_and_may_end_there(cm: Cm, fake: FakeDaemon) -> None:
    watch = Running(cm, "watch", "DRP1")
    wait_until(lambda: fake.world.watchers)
    fake.move(GROUP, "HELD", HOSTILE)
    wait_until(lambda: any("cm why DRP1/coadd/0000" in line for line in watch.lines))
    fake.move("campaigns/DRP1/steps/coadd/groups/0001", "ACCEPTED")
    wait_until(lambda: any("0001 RUNNING -> ACCEPTED" in line for line in watch.lines))
    assert cm("watch", "DRP1", "--exit-on-hold").returncode == 5
    fake.move("campaigns/DRP1", "ACCEPTED")
    assert watch.end() == 0
    assert "".join(watch.lines).count("cm why DRP1/coadd/0000") == 1
    assert "\x1b" not in "".join(watch.lines)


def test_watch_outlasts_a_restart(cm: Cm, fake: FakeDaemon) -> None:
    watch = Running(cm, "watch", "DRP1")
    wait_until(lambda: fake.world.watchers)
    fake.stop()
    wait_until(lambda: any("Connection lost" in line for line in watch.lines))
    fake.start()
    fake.move(GROUP, "ACCEPTED")
    fake.move("campaigns/DRP1", "ACCEPTED")
    assert watch.end() == 0, watch.errors
    assert "0000 RUNNING -> ACCEPTED" in "".join(watch.lines)


def test_watch_as_json_is_a_line_per_event(cm: Cm, fake: FakeDaemon) -> None:
    watch = Running(cm, "watch", "DRP1", "--json")
    wait_until(lambda: fake.world.watchers)
    fake.move(GROUP, "HELD", HOSTILE)
    fake.move("campaigns/DRP1", "CANCELLED")
    assert watch.end() == 4
    events = [json.loads(line) for line in watch.lines]
    assert [event["to_state"] for event in events] == ["HELD", "CANCELLED"]
    assert events[0]["reason"] == HOSTILE


def test_ctrl_c_ends_the_watch_and_not_the_campaign(cm: Cm, fake: FakeDaemon) -> None:
    watch = Running(cm, "watch", "DRP1")
    wait_until(lambda: fake.world.watchers)
    before = len(fake.world.calls)
    watch.process.send_signal(signal.SIGINT)
    assert watch.end() == 130
    errors = watch.errors
    assert "The campaign goes on" in errors
    assert "Traceback" not in errors
    sent = {method for method, _, _ in fake.world.calls[before:]}
    assert sent <= {"GetCampaign", "ListSteps", "ListJobs", "WatchEvents"}
    wait_until(lambda: not fake.world.watchers or fake.move(GROUP, "RUNNING"))


def test_ctrl_c_elsewhere_is_130(cm: Cm, fake: FakeDaemon) -> None:
    fake.world.faults["GetDaemon"].append(Fault(grpc.StatusCode.OK, hang=True))
    command = Running(cm, "daemon")
    wait_until(lambda: fake.count_calls("GetDaemon"))
    command.process.send_signal(signal.SIGINT)
    assert command.end() == 130
    assert "Traceback" not in command.errors


def test_events_are_followed_without_gap(cm: Cm, fake: FakeDaemon) -> None:
    for number in range(4):
        fake.move(GROUP, "RUNNING", f"r{number}")
    events = Running(cm, "events", "DRP1", "--follow", "--limit", "2", "--json")
    wait_until(lambda: len(events.lines) == 2)
    fake.move(GROUP, "HELD")
    fake.end_watches(grpc.StatusCode.RESOURCE_EXHAUSTED, "WATCHER_TOO_SLOW")
    fake.move(GROUP, "RUNNING")
    wait_until(lambda: len(events.lines) == 4)
    events.process.send_signal(signal.SIGINT)
    assert events.end() == 130
    assert [json.loads(line)["seq"] for line in events.lines] == ["3", "4", "5", "6"]


def test_events_newest_first_and_limited(cm: Cm, fake: FakeDaemon) -> None:
    for number in range(5):
        fake.move(GROUP, "RUNNING", f"r{number}")
    forward = json.loads(cm.here("events", "DRP1", "--limit", "3", "--json").stdout)
    assert [event["seq"] for event in forward] == ["3", "4", "5"]
    backward = json.loads(cm.here("events", "--limit", "3", "--newest", "--json").stdout)
    assert [event["seq"] for event in backward] == ["5", "4", "3"]
    assert len(json.loads(cm.here("events", "DRP1", "--limit", "0", "--json").stdout)) == 5


def test_a_log_is_followed(cm: Cm, fake: FakeDaemon) -> None:
    log = Running(cm, "logs", "DRP1/coadd/0000", "--follow")
    wait_until(lambda: "".join(log.lines) == fake.world.log.decode())
    fake.world.log += b"more\n"
    fake.end_watches(grpc.StatusCode.UNAVAILABLE)
    wait_until(lambda: "more\n" in log.lines)
    log.process.send_signal(signal.SIGINT)
    assert log.end() == 130


def test_a_terminal_gets_a_live_picture(cm: Cm, fake: FakeDaemon) -> None:
    watch = Terminal(cm, "watch", "DRP1")
    wait_until(lambda: "Ctrl-C ends the watching only" in watch.text)
    fake.move(GROUP, "HELD", HOSTILE)
    wait_until(lambda: "cm why DRP1/coadd/0000" in watch.text)
    fake.move("campaigns/DRP1", "ACCEPTED")
    assert watch.end() == 0
    assert "\x1b[?25h" in watch.text, "the cursor must come back"
    assert "\x1b[?1049h" not in watch.text
    assert "\x1b]0;" not in watch.text
    assert "\x07" not in watch.text


def test_ctrl_c_on_a_terminal_brings_the_cursor_back(cm: Cm, fake: FakeDaemon) -> None:
    watch = Terminal(cm, "watch", "DRP1")
    wait_until(lambda: "Ctrl-C ends the watching only" in watch.text)
    watch.process.send_signal(signal.SIGINT)
    assert watch.end() == 130
    assert "\x1b[?25h" in watch.text
    assert "The campaign goes on" in watch.text


def test_colours_only_where_they_are_wanted(cm: Cm, fake: FakeDaemon) -> None:
    colour = Terminal(cm, "status", "DRP1")
    assert colour.end() == 0
    assert "\x1b[32m" in colour.text
    cm.environment["NO_COLOR"] = "1"
    plain = Terminal(cm, "status", "DRP1")
    assert plain.end() == 0
    assert "\x1b[32m" not in plain.text


def test_a_terminal_is_asked_for_reason_and_consent(cm: Cm, fake: FakeDaemon) -> None:
    accept = Terminal(cm, "accept", "DRP1/coadd/0000")
    wait_until(lambda: "Reason" in accept.text)
    accept.type("good enough\n")
    assert accept.end() == 0
    requests = [request for method, _, request in fake.world.calls if method == "AcceptGroup"]
    assert requests[0].reason == "good enough"
    cancel = Terminal(cm, "cancel", "DRP1")
    wait_until(lambda: "[y/N]" in cancel.text)
    cancel.type("n\n")
    assert cancel.end() == 1
    assert "Nothing was changed" in cancel.text
    assert not fake.count_calls("CancelCampaign")
    cancel = Terminal(cm, "cancel", "DRP1", "--yes")
    assert cancel.end() == 0
    assert fake.count_calls("CancelCampaign") == 1


def test_a_log_on_a_terminal_is_harmless(cm: Cm, fake: FakeDaemon) -> None:
    logs = Terminal(cm, "logs", "DRP1/coadd/0000")
    assert logs.end() == 0
    assert "[31mred" in logs.text
    assert "\x1b[31m" not in logs.text
    raw = Terminal(cm, "logs", "DRP1/coadd/0000", "--raw")
    assert raw.end() == 0
    assert "\x1b[31m" in raw.text


def test_names_are_completed(cm: Cm, fake: FakeDaemon) -> None:
    def completed(word: str) -> list[str]:
        environment = {"_CM_COMPLETE": "bash_complete", "COMP_WORDS": f"cm status {word}"}
        cm.environment |= environment | {"COMP_CWORD": "2"}
        try:
            return cm().stdout.split()
        finally:
            for key in ("_CM_COMPLETE", "COMP_WORDS", "COMP_CWORD"):
                del cm.environment[key]

    assert completed("DR") == ["plain,DRP1"]
    assert completed("DRP1/c") == ["plain,DRP1/calibrate", "plain,DRP1/coadd"]
    fake.stop()
    assert completed("DR") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(cm: Cm, shell: str) -> None:
    done = cm.here("completion", shell)
    assert done.returncode == 0, done.stderr
    assert "_CM_COMPLETE" in done.stdout
