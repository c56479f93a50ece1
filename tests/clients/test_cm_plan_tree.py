"""The tree of a plan: where groups would run, why, and the bytes of their inputs."""

from io import StringIO

from rich.console import Console

from cm_cli.show.plan import plan_tree
from cmd_api.v1 import campaign_pb2 as pb

PLAN = pb.PlanCampaignResponse(
    campaign="c",
    group_count=3,
    job_count=3,
    steps=[
        pb.PlannedStep(
            step="check",
            splitter="values",
            group_count=3,
            job_names=["before-1"],
            placements=[
                pb.PlannedPlacement(
                    facility="facilities/FrDF", group_count=2, reason="best", input_bytes=2 * 10**9
                ),
                pb.PlannedPlacement(group_count=1, reason="no facility fits \x1b[2Jnow"),
            ],
            groups=[
                pb.PlannedGroup(
                    group="1", facility="facilities/FrDF", reason="best", input_bytes=10**9
                ),
                pb.PlannedGroup(group="2", reason="no facility fits now"),
            ],
        )
    ],
)


def test_a_plan_says_where_and_why() -> None:
    out = StringIO()
    Console(file=out, width=100).print(plan_tree(PLAN))
    shown = out.getvalue()
    for words in (
        "at FrDF: 2 groups with 2.0 GB of inputs (best)",
        "nowhere now: 1 group (no facility fits [2Jnow)",
        "group 1 at FrDF",
        "why there: best",
        "inputs: 1.0 GB",
        "no facility: no facility fits now",
        "… and 1 more",
    ):
        assert words in shown, shown
    assert "\x1b" not in shown
