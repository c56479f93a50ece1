"""Orders of process jobs, and the facility they are for."""

from dataclasses import replace
from typing import Any

from cmd_daemon.hooks import FacilityInfo, JobKind, JobOrder, Queue
from cmd_daemon.testing.host import facility_info
from cmd_panda.bps.rendering import Site
from cmd_panda.settings import PandaSettings

GIB = 1024**3
KEY = "dp2/step1/visits-7/process#2"

ORDER = JobOrder(
    key=KEY,
    campaign="dp2",
    step="step1",
    group="visits-7",
    job="process",
    attempt=2,
    kind=JobKind.PROCESS,
    facility="USDF",
    params={"pipeline": "$DRP_PIPE_DIR/DRP.yaml#step1", "config": {"isr:doDark": False}},
    where="instrument = 'LSSTCam' AND visit IN (7, 8)",
    stack="w_2026_05",
    butler="dp2",
    inputs=("LSSTCam/defaults", "u/dp2/step0"),
    output_run="u/dp2/step1/visits-7/a2",
    output_chain="u/dp2/step1/visits-7",
    step_chain="u/dp2/step1",
    memory=6 * GIB,
    cores=2,
    walltime_s=7200.5,
    queue="8G",
)


def facility(**changes: Any) -> FacilityInfo:
    """The facility USDF, with memory classes of 4 and 8 GiB."""
    base = facility_info(
        "USDF",
        butlers={"dp2": "/repo/dp2"},
        stacks={"w_2026_05": "/stack/w_2026_05/bin/python"},
        memory=4 * GIB,
        queues=(Queue("4G", 10, 4 * GIB), Queue("8G", 5, 8 * GIB)),
    )
    return replace(base, **changes)


def settings(**bps: Any) -> PandaSettings:
    """The facility's section `panda` with this table `bps`."""
    table = {"site": "SLAC", "runner_command": "python3 decode.py _cmd_line_", **bps}
    return PandaSettings.model_validate(
        {
            "server": "https://panda.example.org:8443",
            "token_file": "/secret/token",
            "queue": "SLAC_Rubin",
            "queues": {"8G": "SLAC_Rubin_8G"},
            "bps": table,
        }
    )


def site(**bps: Any) -> Site:
    """The same as orders need it."""
    return Site(facility(), settings(**bps), "/work", "/files", {"token_file": "/secret/token"})
