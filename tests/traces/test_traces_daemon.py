"""Spans of a real daemon at a real OTLP receiver: calls, what follows from them, and restarts between."""

import json
import sys
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from daemon_process import DaemonProcess, until
from span_receiver import Seen, SpanReceiver

from cm_client import StateRefused
from cmd_api.v1 import campaign_pb2, campaign_pb2_grpc
from cmd_daemon.config import Config, ConfigError
from cmd_daemon.daemon import build
from cmd_daemon.observe.spans import OutsideCall
from cmd_daemon.observe.traces import Traces, trace_of

pytestmark = pytest.mark.timeout(300)

NAME = "campaigns/traced"
GROUP = f"{NAME}/steps/one/groups/1"
CAMPAIGN = """\
campaign: traced
owner: me
stack: w1
butler: {{repo: demo, inputs: [a], output: u/me/traced}}
facilities: [USDF]
defaults: {{retry: {{attempts: 1}}}}
steps:
  one:
    split: {{by: tract, ranges: ["1..{groups}"]}}
    before: [{{script: "while test ! -e {gate}\\ndo sleep 0.05\\ndone\\n"}}]
    pipeline: x.yaml#a
    params: {{fake: {fake}}}
"""
RUNS_ON = "{run_s: null}"
FAILS = "{ok: false, message: broken}"


class Story:
    """The campaign `traced`, whose groups wait for a file before their process jobs are submitted."""

    def __init__(self, daemon: DaemonProcess, receiver: SpanReceiver) -> None:
        self.daemon = daemon
        self.receiver = receiver
        self.gate = daemon.root / "gate"

    def begin(self, fake: str, groups: int = 2) -> Seen:
        """Apply and start it; the span of the start, seen by the receiver."""
        with self.daemon.client() as client:
            client.apply_campaign(CAMPAIGN.format(gate=self.gate, fake=fake, groups=groups))
            client.start_campaign(NAME, request_id="the start")
        for group in range(1, groups + 1):
            self.receiver.get("local submit", group=str(group))
        return self.receiver.get("cmd_api.v1.CampaignService/StartCampaign")

    def reach(self, name: str, state: str) -> None:
        """Wait until a job or group is in a state."""

        def there() -> bool:
            with self.daemon.client() as client:
                look: Any = client.get_job if "/jobs/" in name else client.get_group
                found = look(name)
                return bool(type(found).State.Name(found.state) == f"STATE_{state}")

        until(there, f"{name} {state}; log:\n{self.daemon.log()[-2000:]}")

    def world(self) -> list[str]:
        """Keys of the attempts that the fake driver has run, by its own word."""
        lines = (self.daemon.root / "world").read_text().splitlines()
        entries = [json.loads(line) for line in lines]
        return [entry["key"] for entry in entries if entry["what"] == "run"]


@pytest.fixture
def story(daemon: DaemonProcess, receiver: SpanReceiver) -> Story:
    return Story(daemon, receiver)


def follows(effect: Seen, call: Seen) -> bool:
    """Whether a span belongs to the trace of a call, below its span."""
    return effect.trace == call.trace and effect.parent == call.span


def test_calls_and_what_follows_from_them_are_one_trace(
    daemon: DaemonProcess, receiver: SpanReceiver, story: Story
) -> None:
    daemon.start()
    start = story.begin(RUNS_ON)
    assert start.parent == b""
    assert start.attributes["cmd.campaign"] == "traced"
    assert start.attributes["cmd.request_id"] == "the start"
    assert start.attributes["rpc.grpc.status_code"] == "OK"
    assert start.resource["service.name"] == "cmd-daemon"
    story.gate.touch()
    submit = receiver.get("fake submit", group="1")
    assert follows(submit, start)
    assert submit.attributes == {
        "cmd.campaign": "traced",
        "cmd.step": "one",
        "cmd.group": "1",
        "cmd.job": "process",
        "cmd.attempt": 1,
        "cmd.facility": "USDF",
        "cmd.driver": "fake",
        "cmd.verb": "submit",
        "cmd.attempts_in_call": submit.attributes["cmd.attempts_in_call"],
        "cmd.request_id": "the start",
    }
    assert start.began < submit.began <= submit.ended
    asked = receiver.until(lambda: receiver.named("fake observe"), "an observation")[0]
    assert asked.trace != start.trace
    assert asked.attributes["cmd.facility"] == "USDF"
    story.reach(f"{GROUP}/jobs/process", "RUNNING")
    with daemon.client() as client:
        client.control_job(GROUP, paused=True, request_id="the pause")
    pause = receiver.get("cmd_api.v1.JobService/ControlJob")
    assert follows(receiver.get("fake control", group="1"), pause)
    with daemon.client() as client:
        client.cancel_campaign(NAME, request_id="the cancel")
    cancel = receiver.get("cmd_api.v1.CampaignService/CancelCampaign")
    for group in "12":
        assert follows(receiver.get("fake cancel", group=group), cancel)
    assert len({start.trace, pause.trace, cancel.trace}) == 3
    with daemon.client() as client, pytest.raises(StateRefused):
        client.start_campaign(NAME, request_id="too late")
    late = receiver.get("cmd_api.v1.CampaignService/StartCampaign", request_id="too late")
    assert late.attributes["rpc.grpc.status_code"] == "FAILED_PRECONDITION"
    assert daemon.stop() == 0


def test_what_is_done_after_a_kill_belongs_to_the_call_before_it(
    daemon: DaemonProcess, receiver: SpanReceiver, story: Story
) -> None:
    """Killed between the intent of a submission and the driver's call: the next daemon looks it up and
    makes it, in the trace of the start that it has never seen."""
    daemon.start(failpoint="before-submit:2")
    start = story.begin(RUNS_ON, groups=1)
    story.gate.touch()
    daemon.ended()
    assert receiver.named("fake submit") == []
    daemon.start()
    find = receiver.get("fake find", group="1")
    submit = receiver.get("fake submit", group="1")
    assert find.ended <= submit.began
    for effect in (find, submit):
        assert follows(effect, start)
        assert effect.attributes["cmd.request_id"] == "the start"
    assert story.world() == ["traced/one/1/process#1"]


def test_a_newer_call_about_the_group_is_the_one_that_counts(
    daemon: DaemonProcess, receiver: SpanReceiver, story: Story
) -> None:
    daemon.start()
    start = story.begin(FAILS)
    story.gate.touch()
    for group in "12":
        story.reach(f"{NAME}/steps/one/groups/{group}", "HELD")
        assert follows(receiver.get("fake submit", group=group), start)
    daemon.kill()
    daemon.start()
    with daemon.client() as client:
        client.retry_group(GROUP, request_id="the retry")
    retry = receiver.get("cmd_api.v1.GroupService/RetryGroup")
    assert retry.attributes["cmd.group"] == "1"
    assert follows(receiver.get("fake submit", group="1", attempt=2), retry)


def test_an_attempt_that_is_refused_says_why(
    daemon: DaemonProcess, receiver: SpanReceiver, story: Story
) -> None:
    daemon.start()
    text = CAMPAIGN.format(gate=story.gate, fake=RUNS_ON, groups=1)
    with daemon.client() as client:
        client.apply_campaign(text.replace("\\n", " "), start=True)
    assert "is not an absolute path" in receiver.get("local submit").problem


def test_what_a_kill_of_the_facility_cancels_belongs_to_it(
    daemon: DaemonProcess, receiver: SpanReceiver, story: Story
) -> None:
    daemon.start()
    story.begin(RUNS_ON)
    story.gate.touch()
    for group in "12":
        story.reach(f"{NAME}/steps/one/groups/{group}/jobs/process", "RUNNING")
    with daemon.client() as client:
        client.kill_facility("facilities/USDF", reason="smoke", request_id="the kill")
    kill = receiver.get("cmd_api.v1.FacilityService/KillFacility")
    assert kill.attributes["cmd.facility"] == "USDF"
    for group in "12":
        assert follows(receiver.get("fake cancel", group=group), kill)


def test_a_call_without_a_request_id_gets_one_and_a_link_to_its_callers_trace(
    daemon: DaemonProcess, receiver: SpanReceiver, story: Story
) -> None:
    daemon.start()
    caller = "0af7651916cd43dd8448eb211c80319c"
    with daemon.client() as client:
        client.apply_campaign(CAMPAIGN.format(gate=story.gate, fake=RUNS_ON, groups=1))
    story.gate.touch()
    with grpc.insecure_channel(daemon.target) as channel:
        service = campaign_pb2_grpc.CampaignServiceStub(channel)
        service.StartCampaign(
            campaign_pb2.StartCampaignRequest(name=NAME),
            metadata=[("traceparent", f"00-{caller}-b7ad6b7169203331-01")],
        )
    start = receiver.get("cmd_api.v1.CampaignService/StartCampaign")
    assert start.links == [bytes.fromhex(caller)]
    assert len(start.attributes["cmd.request_id"]) == 32
    assert follows(receiver.get("fake submit"), start)


def test_a_daemon_without_a_receiver_works_and_stops(
    daemon: DaemonProcess, receiver: SpanReceiver, story: Story
) -> None:
    receiver.close()
    daemon.start()
    story.gate.touch()
    with daemon.client() as client:
        client.apply_campaign(
            CAMPAIGN.format(gate=story.gate, fake="{run_s: 0}", groups=2), start=True
        )
    story.reach(GROUP, "ACCEPTED")
    assert daemon.stop() == 0
    receiver.spans.clear()


def test_a_share_of_the_traces_is_kept_whole(receiver: SpanReceiver) -> None:
    traces = Traces(receiver.endpoint, 0.5)
    asked = [f"request {number}" for number in range(200)]
    for request_id in asked:
        with traces.call("S", "M", request_id):
            pass
        traces.attempt(OutsideCall("submit", "USDF", "fake", 1, 1), "c/s/g/j#1", request_id, "")
    traces.close()
    spans = Counter(span.trace for span in receiver.spans)
    assert set(spans.values()) == {2}
    assert 50 < len(spans) < 150
    assert set(spans) <= {trace_of(each)[0].to_bytes(16) for each in asked}


def test_a_failed_call_says_why(receiver: SpanReceiver) -> None:
    traces = Traces(receiver.endpoint)
    failed = OutsideCall("submit", "USDF", "panda", 3, 1, "no route to host")
    traces.attempt(failed, "c/s/g/j#7", "r", "")
    traces.question(OutsideCall("observe", "USDF", "panda", 12, 1))
    traces.close()
    assert receiver.get("panda submit", attempt=7).problem == "no route to host"
    assert receiver.get("panda observe").attributes["cmd.attempts_in_call"] == 12


async def test_without_the_extra_the_configuration_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [each for each in sys.modules if each.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "cmd_daemon.observe.traces")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    given = {"daemon": {"state_dir": tmp_path, "socket": tmp_path / "s"}}
    async with AsyncExitStack() as stack:
        await build(Config.model_validate(given), stack)  # it is not needed
    config = Config.model_validate({**given, "traces": {"endpoint": "http://localhost:4318"}})
    with pytest.raises(ConfigError, match=r"pip install 'cmd-daemon\[otel\]'"):
        async with AsyncExitStack() as stack:
            await build(config, stack)
