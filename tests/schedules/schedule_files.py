"""Schedule files and templates for tests."""

TEMPLATE = """\
campaign: nightly-${DATE}-${TIME}
owner: me
stack: ${STACK}
butler: {repo: main, inputs: [a], output: "u/me/nightly-${DATE}${TIME}"}
facilities: [HERE]
steps:
  one:
    pipeline: x.yaml#a
    params: {fake: {run_s: "${RUN_S}", quanta: {isr: [1, 1]}}}
parameters: {RUN_S: 0}
"""

SCHEDULE = """\
schedule: nightly
owner: me
cron: "{cron}"
template: small.yaml
overlap: {overlap}
late: 1 h
set: {{RUN_S: {run_s}}}
"""


def schedule_file(cron: str = "*/5 * * * *", overlap: str = "skip", run_s: str = "0") -> str:
    """A schedule that fires each five minutes."""
    return SCHEDULE.format(cron=cron, overlap=overlap, run_s=run_s)
