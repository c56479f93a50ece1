"""A stand-in for a Rubin stack with BPS: put this directory into PYTHONPATH, and any Python has one.

It has just what the program at the facility asks of a stack. Every graph is that of the recorded `bps submit`
(four quanta of `cal`), and what is sent is the recorded workflow under the name, site and queue of
the submit file. A repository is a directory: `collections` lists what exists, `failed` the detectors whose
quanta have failed; `graphs` counts the graphs built, `aggregated` is there once outputs were taken in.
STAND_IN_RECORDING names `bps_submit.json`.
"""

import base64
import contextlib
import gzip
import json
import os
import sys
import types
import urllib.request
import zlib
from pathlib import Path
from typing import Any

RECORDED = "u_cmd_toycamp_step1_groupN_20261122T173252Z"
NODES = {
    0: "01a20451-7be8-7a7a-ad76-5f104bea219f",
    1: "01a20451-7be8-7c15-9377-9b987603883a",
    2: "01a20451-7be4-7d5c-a359-c758e9c9c4d0",
    3: "01a20451-7be4-71a2-bcf1-2dcd73084164",
}
"""The quanta of the recorded graph: detector and node."""

COUNTS = ("successful", "failed", "blocked", "unknown", "wonky")


def module(name: str, **content: Any) -> None:
    """Make a module and the packages that it is in."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        path = ".".join(parts[:end])
        if path not in sys.modules:
            made = types.ModuleType(path)
            made.__path__ = []
            sys.modules[path] = made
            if end > 1:
                setattr(sys.modules[".".join(parts[: end - 1])], parts[end - 1], made)
    for key, value in content.items():
        setattr(sys.modules[name], key, value)


class Command:
    """One command of `pipetask` or `butler`."""

    def __init__(self, action: Any) -> None:
        self._action = action

    def main(self, args: list[str], **_: Any) -> int:
        """Run it."""
        self._action(args)
        return 0


def after(words: list[str], option: str) -> str:
    """The value of an option."""
    return words[words.index(option) + 1]


def count(repo: str, name: str) -> None:
    """One more line of a file of the repository."""
    with (Path(repo) / name).open("a") as out:
        out.write(f"{os.getpid()}\n")


def build_graph(words: list[str]) -> None:
    """`pipetask qgraph`."""
    repo = after(words, "-b")
    count(repo, "graphs")
    if "4711" in after(words, "-d"):
        raise RuntimeError("QuantumGraph is empty")
    Path(after(words, "-q")).write_text(json.dumps({"repo": repo}))


def report(words: list[str]) -> None:
    """`pipetask report`."""
    file = Path(words[0]) / "failed"
    failed = {int(each) for each in file.read_text().split()} if file.exists() else set()
    numbers = dict.fromkeys(COUNTS, 0) | {"expected": 4, "failed": len(failed)}
    numbers["successful"] = 4 - len(failed)
    quanta = [
        {
            "data_id": {"detector": detector, "visit": 1006},
            "messages": [
                f"Execution of task 'cal' on quantum x failed. Exception BadImage: {detector}"
            ],
        }
        for detector in sorted(failed)
    ]
    task = {f"n_{state}": number for state, number in numbers.items()}
    told = {"cal": {**task, "failed_quanta": quanta, "wonky_quanta": []}}
    Path(after(words, "--full-output-filename")).write_text(
        json.dumps({"tasks": told, "datasets": {}})
    )


class Graph:
    """A quantum graph, open or read."""

    header = types.SimpleNamespace(n_quanta=4, n_task_quanta={"cal": 4})

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: str, **_: Any) -> Any:
        """Open a file."""
        Path(path).read_text()
        yield cls()

    def read_thin_graph(self) -> None:
        """Read it."""

    def finish(self) -> "Graph":
        """The whole."""
        return self

    @property
    def quanta_by_task(self) -> dict[str, dict[Any, str]]:
        """Nodes by task and data id."""
        return {"cal": {DataId(detector): node for detector, node in NODES.items()}}


class DataId:
    """A data id."""

    def __init__(self, detector: int) -> None:
        self.required = {"detector": detector, "visit": 1006}


class Butler:
    """A repository."""

    def __init__(self, repo: Path) -> None:
        self._repo = repo
        self.collections = self

    @classmethod
    def from_config(cls, repo: str, **_: Any) -> "Butler":
        """Open it."""
        if not Path(repo).is_dir():
            raise FileNotFoundError(repo)
        return cls(Path(repo))

    def __enter__(self) -> "Butler":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def query_info(self, _: str) -> list[Any]:
        """What exists."""
        names = (self._repo / "collections").read_text().split()
        return [types.SimpleNamespace(name=name) for name in names]


def packed(text: str, names: dict[str, str]) -> str:
    """The recorded body under other names, also where iDDS has packed it."""
    for old, new in names.items():
        text = text.replace(old, new)
    (tagged,) = json.loads(text)
    for work in tagged["attributes"]["template"]["attributes"]["_works"].values():
        inside = work["attributes"]["_dependency_map"].removeprefix("idds_zip:")
        plain = zlib.decompress(base64.b64decode(inside)).decode()
        for old, new in names.items():
            plain = plain.replace(old, new)
        again = base64.b64encode(zlib.compress(plain.encode())).decode()
        work["attributes"]["_dependency_map"] = f"idds_zip:{again}"
    return json.dumps([tagged])


def prepare_driver(file: str, **_: Any) -> tuple[Any, Any]:
    """`bps prepare`."""
    import yaml

    config = yaml.safe_load(Path(file).read_text())
    Path(config["submitPath"]).mkdir()
    name = config["uniqProcName"]
    nodes = [f"{node}_cal+qgraphNodeId:{node}+qgraphId:" for node in NODES.values()]
    works = {
        label: types.SimpleNamespace(
            task_name=f"{name}_{label}_01", dependency_map=[{"name": each} for each in jobs]
        )
        for label, jobs in (("01_pipetaskInit", ["x"]), ("02_cal", nodes), ("03_finalJob", ["y"]))
    }
    template = types.SimpleNamespace(works=works)
    workflow = types.SimpleNamespace(template=template)
    return config, types.SimpleNamespace(idds_client_workflow=workflow, run_id=None)


def submit(config: Any, workflow: Any) -> None:
    """`bps submit`."""
    recorded = json.loads(Path(os.environ["STAND_IN_RECORDING"]).read_text())
    names = {
        RECORDED: config["uniqProcName"],
        '"task_site": "usdf"': f'"task_site": "{config["computeSite"]}"',
        '"task_queue": "SLAC_Rubin"': f'"task_queue": "{config["queue"]}"',
    }
    body = packed(recorded["exchanges"][1]["request"]["body"]["args"], names)
    told = relay("submit", args=body, kwargs='{"username": null, "use_dataset_name": false}')
    if not told[0]:
        raise RuntimeError(f"Error submitting to PanDA service: {told[1]}")
    workflow.run_id = told[1]


def relay(command: str, **fields: str) -> Any:
    """One command of iDDS over PanDA."""
    body = gzip.compress(json.dumps({"command_name": command, "manager": True, **fields}).encode())
    request = urllib.request.Request(
        f"{os.environ['PANDA_URL']}/relay_idds_command",
        body,
        {
            "Authorization": f"Bearer {os.environ['PANDA_AUTH_ID_TOKEN']}",
            "Origin": os.environ["PANDA_AUTH_VO"],
            "Content-Type": "application/json",
        },
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


class Client:
    """iDDS' client."""

    def get_request_id_by_name(self, name: str) -> Any:
        """Ask for a name."""
        try:
            return 0, relay("get_request_id_by_name", kwargs=json.dumps({"name": name}))
        except OSError as error:
            return 255, str(error)


def result(answer: Any) -> tuple[bool, Any, Any]:
    """What an answer says: good, value, problem."""
    if answer[0] != 0 or not answer[1][0]:
        return False, None, f"PanDA relay service returns errors: {answer}"
    return True, answer[1][1], None


module("lsst.daf.butler", Butler=Butler)
module("lsst.ctrl.mpexec.cli.cmd", qgraph=Command(build_graph), report=Command(report))
module("lsst.pipe.base.quantum_graph", PredictedQuantumGraph=Graph)
module("lsst.pipe.base.pipeline_graph", TaskImportMode=types.SimpleNamespace(DO_NOT_IMPORT=0))
module(
    "lsst.pipe.base.cli.cmd",
    aggregate_graph=Command(lambda words: count(words[1], "aggregated")),
)
module("lsst.ctrl.bps.drivers", prepare_driver=prepare_driver)
module("lsst.ctrl.bps.submit", submit=submit)
module(
    "lsst.ctrl.bps.panda.utils",
    get_idds_client=lambda config: Client(),
    get_idds_result=result,
)
