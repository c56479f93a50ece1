"""What BPS needs at one facility."""

from typing import Any

from pydantic import BaseModel, ByteSize, ConfigDict, Field, field_validator

OURS = frozenset(
    {
        "computeCloud",
        "computeSite",
        "fileDistributionEndPoint",
        "fileDistributionEndPointDefault",
        "payload",
        "pipelineYaml",
        "pipetaskOutput",
        "qgraphFile",
        "queue",
        "requestMemory",
        "submitPath",
        "uniqProcName",
        "updateQuantumGraph",
        "wmsServiceClass",
    }
)
"""Keys of a submit file that follow from the order and nobody may set."""


def free_keys(keys: dict[str, Any]) -> dict[str, Any]:
    """The keys, if all of them may be set. Raises ValueError."""
    if taken := sorted(OURS & keys.keys()):
        raise ValueError(
            f"the keys {', '.join(taken)} of a submit file follow from the order: leave them out"
        )
    return keys


class BpsSettings(BaseModel):
    """Table `bps` of the section `panda`: how process jobs become BPS workflows.

    The graph is built and `bps submit` run at the facility, in the stack of the order, over the facility's
    transport. `work_dir` is a folder there with one directory for each attempt, on a file system where
    flock works (default, on this machine only: below the daemon's state directory). `endpoint` is a folder
    or URI that jobs can read too, below which each attempt's files are put (default: `files` in `work_dir`).
    `workers` attempts are worked on at a time; `start_s` is how long the stack may take to be ready.

    `server`, `token_file` and `proxy` are those of the section `panda` as the facility sees them (default:
    the same; files must be named where the facility is another machine). `env` is the environment of
    graph and submission.

    `site` is PanDA's name of the facility (computeSite; default: the facility's own name), `cloud` its
    cloud. `merge_queue` is the queue of the final job (default: `queue`). `include` are BPS files
    read before ours, `runner_command` says how a node runs a job if none of those does, `config` are
    further keys of every submit file. A job is tried `attempts` times by PanDA, each time with
    `memory_multiplier` times the memory more, up to `memory_limit` (default: the facility's most).
    """

    model_config = ConfigDict(extra="forbid")

    work_dir: str = Field(default="", pattern=r"^(/[^\x00]*)?$")
    endpoint: str = ""
    workers: int = Field(default=2, ge=1, le=64)
    start_s: float = Field(default=120.0, gt=0)

    server: str = ""
    token_file: str = Field(default="", pattern=r"^(/[^\x00]*)?$")
    proxy: str = Field(default="", pattern=r"^(/[^\x00]*)?$")
    env: dict[str, str] = Field(default_factory=dict)

    site: str = ""
    cloud: str = "US"
    merge_queue: str = ""
    include: list[str] = Field(default_factory=list)
    runner_command: str = ""
    config: dict[str, Any] = Field(default_factory=dict)
    attempts: int = Field(default=3, ge=1, le=50)
    memory_multiplier: float = Field(default=2.0, ge=1.0)
    memory_limit: ByteSize | None = None

    _free = field_validator("config")(free_keys)
