"""Do one `process` job in the Python of a facility's stack: quantum graph, run, report.

    python process_runner.py ORDER.json

It needs the stack and the standard library only. All three parts are done by the commands of
`pipetask` in one process, because importing the stack costs seconds. The order is a JSON object:

    key               text that names the attempt; only repeated
    butler            path of the repository
    pipeline          FILE#SUBSET; environment variables in it are filled in
    where             which data
    inputs            collections to read, first found wins
    inputs_if_there   those of them that are left out where they do not exist
    output_run        RUN collection to write; not yet there, or begun by this very order
    skip_existing_in  collections of earlier attempts (rescue: only quanta that did not succeed
                      there)
    previous_graphs   files of the earlier attempts' graphs, oldest first, so that counts are those
                      of the whole group
    jobs              quanta at a time (default 1; more start an interpreter for each quantum)
    work_dir          directory of this attempt alone
    config            {"task:field": value}

In ``work_dir`` appear: ``graph.qg``, ``progress.json`` (while it goes), ``report.json`` (from
`pipetask report`), and last of all ``outcome.json``, see `Outcome`. Both JSON files are replaced
atomically. The same order may be started again after the process was killed at any point: what is
finished is not done again, half-done quanta are cleared and redone. An order whose ``outcome.json``
is there does nothing.

Exit status: 0 all quanta of the group succeeded; 1 not all did; 2 the job could not be done
(``error_class`` tells whether to try again); 3 the order cannot be read or another process is
working on it (then nothing is written).
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FAILURES_MAX = 200
MESSAGE_MAX = 2000
PROGRESS_INTERVAL = 0.5
"""Seconds between two writings of progress.json within a phase."""

QUANTA_STATES = ("expected", "successful", "failed", "blocked", "unknown", "wonky")

LOG = logging.getLogger("process_runner")


class OrderError(Exception):
    """The order itself is wrong."""


class JobError(Exception):
    """The job cannot be done; `error_class` is Permanent or Transient."""

    def __init__(self, message: str, error_class: str = "Permanent") -> None:
        super().__init__(message)
        self.error_class = error_class


@dataclass(frozen=True)
class Order:
    """What is to be done, see the module's text."""

    key: str
    butler: str
    pipeline: str
    output_run: str
    work_dir: Path
    where: str = ""
    inputs: tuple[str, ...] = ()
    inputs_if_there: tuple[str, ...] = ()
    skip_existing_in: tuple[str, ...] = ()
    previous_graphs: tuple[str, ...] = ()
    jobs: int = 1
    config: dict[str, Any] = field(default_factory=dict)
    digest: str = ""

    @classmethod
    def read(cls, path: Path) -> "Order":
        """Read an order.

        Raises
        ------
        OrderError
            If the file is not there, not JSON, or a field is missing, unknown or of a wrong kind.
        """
        try:
            text = path.read_text()
            values = json.loads(text)
        except (OSError, ValueError) as error:
            raise OrderError(f"cannot read the order {path}: {error}") from error
        if not isinstance(values, dict):
            raise OrderError(f"the order {path} is not an object")
        kinds: dict[str, type] = {
            **dict.fromkeys(("key", "butler", "pipeline", "output_run", "work_dir", "where"), str),
            **dict.fromkeys(
                ("inputs", "inputs_if_there", "skip_existing_in", "previous_graphs"), list
            ),
            "jobs": int,
            "config": dict,
        }
        problems = [f"{name} is not a field of an order" for name in values if name not in kinds]
        problems += [
            f"{name} is missing"
            for name in ("key", "butler", "pipeline", "output_run", "work_dir")
            if not values.get(name)
        ]
        problems += [
            f"{name} must be of type {kind.__name__}"
            for name, kind in kinds.items()
            if name in values and not isinstance(values[name], kind)
        ]
        if problems:
            raise OrderError(f"the order {path} is wrong: {'; '.join(problems)}")
        given: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in values.items()
        }
        given["work_dir"] = Path(values["work_dir"])
        canonical = json.dumps(values, sort_keys=True)
        return cls(**given, digest=hashlib.sha256(canonical.encode()).hexdigest())


@dataclass
class Outcome:
    """What came of an order; ``outcome.json`` has exactly these fields.

    ``quanta`` and ``datasets`` describe the whole group over all its attempts; ``graph`` this
    attempt's graph only. ``error_class`` is null if the job was done, however many quanta failed:
    the campaign's rules decide what that means.
    """

    key: str
    digest: str
    ok: bool = False
    phase: str = "graph"
    exit_code: int = 2
    quanta: dict[str, dict[str, int]] = field(default_factory=dict)
    datasets: dict[str, dict[str, int]] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    message: str = ""
    error_class: str | None = None
    graph: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def total(self, state: str) -> int:
        """Return the number of quanta of all tasks in a state."""
        return sum(counts[state] for counts in self.quanta.values())


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replace a file by one that is complete and on disk."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w") as stream:
        json.dump(content, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    Path(name).replace(path)


class Progress(logging.Handler):
    """Keeps ``progress.json`` up to date; counts quanta by what the executor logs after each."""

    def __init__(self, order: Order) -> None:
        super().__init__(logging.INFO)
        self._path = order.work_dir / "progress.json"
        self._written = 0.0
        self._content: dict[str, Any] = {
            "key": order.key,
            "pid": os.getpid(),
            "phase": "graph",
            "started": time.time(),
            "expected": {},
            "done": 0,
            "failed": 0,
        }

    def phase(self, name: str, **more: Any) -> None:
        """Note that a phase begins."""
        self._content.update(more, phase=name)
        self._write()

    def emit(self, record: logging.LogRecord) -> None:
        """Take the counts from the executor's line; any other line is nothing to us."""
        arguments = record.args
        if not (
            isinstance(record.msg, str) and record.msg.startswith("Executed %d quanta successfully")
        ):
            return
        if isinstance(arguments, tuple) and len(arguments) >= 2:
            self._content.update(done=arguments[0], failed=arguments[1])
            if time.monotonic() - self._written >= PROGRESS_INTERVAL:
                self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        # Progress is a courtesy: a full disk must not end the job here.
        with contextlib.suppress(OSError):
            write_json(self._path, {**self._content, "updated": time.time()})


class Errors(logging.Handler):
    """Remembers what `pipetask` logs as errors, and the exception behind the last one."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []
        self.exception: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        del self.lines[:-50]
        if (
            record.exc_info
            and isinstance(record.exc_info, tuple)
            and record.exc_info[1] is not None
        ):
            self.exception = record.exc_info[1]


@contextlib.contextmanager
def listening(handler: logging.Handler) -> Iterator[None]:
    """Let a handler hear all that is logged."""
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def pipetask(command_name: str, arguments: list[str]) -> tuple[int, Errors]:
    """Run a command of `pipetask` in this process; return its exit status and what it logged as
    errors.

    The command catches its exceptions and logs them; `Errors.exception` has the one that ended it.
    A plain refusal (a `ClickException`) becomes that exception too.
    """
    import click
    from lsst.ctrl.mpexec.cli import cmd

    errors = Errors()
    LOG.info("pipetask %s %s", command_name, " ".join(arguments))
    with listening(errors):
        try:
            status = getattr(cmd, command_name).main(
                args=arguments, prog_name=f"pipetask {command_name}", standalone_mode=False
            )
        except click.ClickException as refusal:
            errors.exception = refusal
            status = 1
        except SystemExit as leaving:
            status = leaving.code if isinstance(leaving.code, int) else 1
    return (status if isinstance(status, int) else 0), errors


def classify(error: BaseException | None) -> str:
    """Return Transient for what another try may cure without a change, else Permanent."""
    from sqlalchemy.exc import OperationalError

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OperationalError | MemoryError | TimeoutError | ConnectionError):
            return "Transient"
        if isinstance(cause, OSError) and not isinstance(
            cause, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError
        ):
            return "Transient"
        cause = cause.__cause__
    return "Permanent"


def describe(error: BaseException | None, errors: Errors) -> str:
    """Return the words of the error that ended a command."""
    if error is not None:
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        return f"{type(error).__name__}: {text}" if text else type(error).__name__
    return errors.lines[-1] if errors.lines else "no reason was given"


class Job:
    """One order being done.

    The parts are public, because others build the graph here and run it elsewhere.
    """

    graph_options: tuple[str, ...] = ()
    """More options of `pipetask qgraph`."""

    def __init__(self, order: Order, progress: Progress) -> None:
        self._order = order
        self._progress = progress
        self._graph = order.work_dir / "graph.qg"
        self._report = order.work_dir / "report.json"
        self._summary = order.work_dir / "run.json"
        self._run_begun = False
        self._inputs: list[str] = []
        self.outcome = Outcome(key=order.key, digest=order.digest)

    def do(self) -> None:
        """Do all parts; the outcome tells what came of it.

        Raises
        ------
        JobError
            If a part cannot be done.
        """
        n_quanta = self.make_graph()
        crash: JobError | None = None
        if n_quanta:
            self.outcome.phase = "run"
            self._progress.phase("run", expected=self.outcome.graph["n_task_quanta"])
            with self._timed("run"):
                crash = self._run()
        self.report(n_quanta, crash)

    def make_graph(self) -> int:
        """Build the graph; return its number of quanta, 0 if earlier attempts did everything.

        Raises
        ------
        JobError
            If it cannot be built, or is empty.
        """
        pipeline = self._find_pipeline()
        with self._timed("import"):
            import lsst.ctrl.mpexec.cli.cmd
            import lsst.pipe.base.quantum_graph  # noqa: F401
        with self._timed("graph"):
            skip = self._check_collections()
            return self._build(pipeline, skip)

    def report(self, n_quanta: int, crash: JobError | None = None) -> None:
        """Count what became of the quanta over all attempts, and judge.

        Raises
        ------
        JobError
            If they cannot be counted, or the counts make no sense; `crash` if there is one.
        """
        self.outcome.phase = "report"
        self._progress.phase("report")
        with self._timed("report"):
            self._make_report(n_quanta)
            self.explain_failures()
        self._judge(n_quanta, crash)
        self.outcome.phase = "done"
        self._progress.phase("done")

    def _check_collections(self) -> list[str]:
        """Return those collections of earlier attempts that exist; refuse inputs that do not, and a
        run of another order.
        """
        from lsst.daf.butler import Butler

        order = self._order
        try:
            butler = Butler.from_config(order.butler)
        except FileNotFoundError as error:
            raise JobError(f"There is no Butler repository at {order.butler}: {error}") from error
        with butler:
            existing = {info.name for info in butler.collections.query_info("*")}
        self._inputs = [name for name in order.inputs if name in existing]
        missing = [
            name
            for name in order.inputs
            if name not in existing and name not in order.inputs_if_there
        ]
        if missing:
            raise JobError(
                f"Input collections do not exist in {order.butler}: {', '.join(missing)}"
            )
        self._run_begun = order.output_run in existing
        if self._run_begun and not self._graph.exists():
            raise JobError(
                f"The output run {order.output_run} exists already in {order.butler}, but "
                f"{order.work_dir} has no graph of it: another attempt wrote it, or this one's work "
                "directory was lost. Use a new output run."
            )
        return [name for name in order.skip_existing_in if name in existing]

    def _find_pipeline(self) -> str:
        """Return the pipeline with its environment variables filled in; a file that is not there
        needs no stack to see.
        """
        order = self._order
        pipeline = os.path.expandvars(order.pipeline)
        if "$" in pipeline:
            raise JobError(
                f"Pipeline {order.pipeline}: its environment variable is not set at this facility"
            )
        file = pipeline.partition("#")[0]
        if "://" not in file and not Path(file).is_file():
            raise JobError(f"Pipeline {order.pipeline} does not exist: there is no file {file}")
        return pipeline

    def _build(self, pipeline: str, skip: list[str]) -> int:
        """Build the graph unless a killed process of this order has built it; return its number of
        quanta.
        """
        order = self._order
        if not self._graph.exists():
            new_graph = order.work_dir / "graph.new.qg"
            arguments = [
                "-b",
                order.butler,
                "-p",
                pipeline,
                "-q",
                str(new_graph),
                "--output-run",
                order.output_run,
            ]
            if self._inputs:
                arguments += ["-i", ",".join(self._inputs)]
            if order.where:
                arguments += ["-d", order.where]
            if skip:
                arguments += ["--skip-existing-in", ",".join(skip)]
            for name, value in order.config.items():
                arguments += ["-c", f"{name}={value}"]
            arguments += self.graph_options
            status, errors = pipetask("qgraph", arguments)
            if status:
                self._explain_no_graph(errors, bool(skip))
                return 0
            new_graph.replace(self._graph)
        self.describe_graph()
        return int(self.outcome.graph["n_quanta"])

    def _explain_no_graph(self, errors: Errors, skipping: bool) -> None:
        """Return if the graph is empty because earlier attempts did everything; else raise what
        went wrong.
        """
        order = self._order
        if "empty" not in str(errors.exception):
            words = describe(errors.exception, errors)
            raise JobError(
                f"The quantum graph of {order.pipeline} cannot be built. {words}",
                classify(errors.exception),
            )
        if skipping and self._previous_graphs():
            self.outcome.graph = {"n_quanta": 0, "n_task_quanta": {}, "file": None}
            return
        reasons = " ".join(
            line
            for line in errors.lines
            if "empty" not in line.lower() or "because" in line.lower()
        )
        raise JobError(
            f"The quantum graph of {order.pipeline} is empty: no data match {order.where!r} "
            f"in {', '.join(self._inputs)}. "
            f"{reasons}".strip()
        )

    def explain_failures(self) -> None:
        """Say more about the failures than the report does; here there is no more to say."""

    def describe_graph(self) -> None:
        """Put what the graph holds into the outcome."""
        from lsst.pipe.base.quantum_graph import PredictedQuantumGraph

        try:
            with PredictedQuantumGraph.open(str(self._graph)) as reader:
                header = reader.header
                self.outcome.graph = {
                    "n_quanta": header.n_quanta,
                    "n_task_quanta": {k: v for k, v in header.n_task_quanta.items() if v},
                    "file": str(self._graph),
                }
        except Exception as error:
            raise JobError(
                f"The graph {self._graph} cannot be read: {error}. Start a new attempt."
            ) from error

    def _run(self) -> JobError | None:
        """Run the graph; return the error that ended it early, None if it went through all quanta."""
        order = self._order
        arguments = ["-b", order.butler, "-g", str(self._graph), "--output-run", order.output_run]
        arguments += ["--register-dataset-types", "--clobber-outputs", "-j", str(order.jobs)]
        arguments += ["--summary", str(self._summary)]
        if self._run_begun:
            # A killed process of this order began it: finished quanta are kept, half-done ones
            # cleared and redone.
            arguments.append("--extend-run")
        self._summary.unlink(missing_ok=True)
        status, errors = pipetask("run", arguments)
        if status == 0 or type(errors.exception).__name__ == "MPGraphExecutorError":
            return None
        words = describe(errors.exception, errors)
        return JobError(
            f"The run ended before all quanta were tried (exit {status}). {words}",
            classify(errors.exception),
        )

    def _previous_graphs(self) -> list[str]:
        found = [path for path in self._order.previous_graphs if Path(path).is_file()]
        for path in self._order.previous_graphs:
            if path not in found:
                LOG.warning(
                    "the graph %s of an earlier attempt is not there; its quanta are not counted",
                    path,
                )
        return found

    def _make_report(self, n_quanta: int) -> None:
        """Let `pipetask report` count quanta and datasets over all attempts, and take its figures."""
        graphs = self._previous_graphs() + ([str(self._graph)] if n_quanta else [])
        arguments = [
            self._order.butler,
            *graphs,
            "--force-v2",
            "--full-output-filename",
            str(self._report),
        ]
        self._report.unlink(missing_ok=True)
        status, errors = pipetask("report", arguments)
        if status or not self._report.is_file():
            words = describe(errors.exception, errors)
            raise JobError(
                f"The run cannot be counted, its report failed. {words}", classify(errors.exception)
            )
        report = json.loads(self._report.read_text())
        raised = self._raised()
        for task, summary in report["tasks"].items():
            self.outcome.quanta[task] = {
                state: int(summary[f"n_{state}"]) for state in QUANTA_STATES
            }
            for kind in ("failed_quanta", "wonky_quanta"):
                for quantum in summary[kind]:
                    self._add_failure(task, quantum, raised)
        for name, summary in report["datasets"].items():
            self.outcome.datasets[name] = {
                "expected": int(summary["n_expected"]),
                "visible": int(summary["n_visible"]),
            }

    def _raised(self) -> list[dict[str, Any]]:
        """Return what the run's own summary knows of quanta that failed."""
        try:
            summary = json.loads(self._summary.read_text())
        except (OSError, ValueError):
            return []
        return [
            entry for entry in summary.get("quantaReports", []) if entry.get("status") == "failure"
        ]

    def _add_failure(
        self, task: str, quantum: dict[str, Any], raised: list[dict[str, Any]]
    ) -> None:
        if len(self.outcome.failures) >= FAILURES_MAX:
            return
        data_id = quantum["data_id"]
        message = "\n".join(str(text) for text in quantum["messages"]) or "no message was logged"
        exit_code = None
        for entry in raised:
            found = entry.get("dataId") or {}
            if entry.get("taskLabel") == task and all(
                found.get(key) == value for key, value in data_id.items()
            ):
                exit_code = entry.get("exitCode")
                if information := entry.get("exceptionInfo"):
                    message = (
                        f"{information['className'].rpartition('.')[2]}: {information['message']}"
                    )
        self.outcome.failures.append(
            {"task": task, "data_id": data_id, "message": message[:MESSAGE_MAX], "exit": exit_code}
        )

    def _judge(self, n_quanta: int, crash: JobError | None) -> None:
        """Decide whether all is well, and say it in words."""
        outcome = self.outcome
        expected, successful = outcome.total("expected"), outcome.total("successful")
        counted = {
            task: counts["expected"]
            for task, counts in outcome.quanta.items()
            if counts["expected"]
        }
        in_graph = outcome.graph["n_task_quanta"]
        differing = [
            f"{task}: {counted.get(task, 0)} counted, {number} in the graph"
            for task, number in in_graph.items()
            if (
                counted.get(task, 0) < number
                if self._previous_graphs()
                else counted.get(task, 0) != number
            )
        ]
        if crash is not None:
            raise JobError(
                f"{crash} So far {successful} of {expected} quanta succeeded.", crash.error_class
            )
        if differing:
            raise JobError(
                "The run reported its end, but its counts are not those of the graph: "
                f"{'; '.join(differing)}. It is not taken as a success."
            )
        outcome.ok = expected > 0 and successful == expected
        outcome.exit_code = 0 if outcome.ok else 1
        if outcome.ok:
            outcome.message = (
                f"All {expected} quanta succeeded."
                if expected > 1
                else "The one quantum succeeded."
            )
            if not n_quanta:
                outcome.message = (
                    f"Nothing is missing: all {expected} quanta succeeded in earlier attempts."
                )
            elif n_quanta < expected:
                outcome.message = (
                    f"All {expected} quanta succeeded, {n_quanta} of them in this attempt."
                )
            return
        others = [
            f"{outcome.total(state)} {state}" for state in QUANTA_STATES[2:] if outcome.total(state)
        ]
        outcome.message = (
            f"{successful} of {expected} quanta succeeded ({', '.join(others) or 'none failed'})."
        )
        if not n_quanta:
            outcome.message += (
                " The rescue found nothing that it could run: the inputs of the others are missing."
            )
        if outcome.failures:
            first = outcome.failures[0]
            data_id = ", ".join(f"{key}={value}" for key, value in first["data_id"].items())
            words = first["message"].splitlines()[0][:300]
            outcome.message += f" First failure: {first['task']} ({data_id}): {words}"

    @contextlib.contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.outcome.seconds[name] = round(time.monotonic() - start, 3)


def do_order(order: Order) -> Outcome:
    """Do an order; return its outcome, which is on disk by then."""
    start = time.monotonic()
    progress = Progress(order)
    progress.phase("graph")
    job = Job(order, progress)
    with listening(progress):
        went_through(job, job.do)
    job.outcome.seconds["total"] = round(time.monotonic() - start, 3)
    write_json(order.work_dir / "outcome.json", asdict(job.outcome))
    return job.outcome


def went_through(job: Job, part: Callable[[], object]) -> bool:
    """Do a part of a job; return False if it ended by an error, which is then in the outcome."""
    outcome = job.outcome
    try:
        part()
    except JobError as error:
        outcome.message, outcome.error_class = str(error), error.error_class
    except Exception as error:
        LOG.exception("the job ended by an error that was not foreseen")
        outcome.message = (
            f"The job ended in its {outcome.phase} part. {type(error).__name__}: {error}"
        )
        outcome.error_class = classify(error)
    else:
        return True
    outcome.ok, outcome.exit_code = False, 2
    outcome.message = outcome.message[: 2 * MESSAGE_MAX]
    return False


def finished_before(order: Order) -> dict[str, Any] | None:
    """Return the outcome that an earlier process left for this very order, if there is one.

    Raises
    ------
    OrderError
        If the work directory holds the outcome of another order.
    """
    path = order.work_dir / "outcome.json"
    if not path.is_file():
        return None
    outcome: dict[str, Any] = json.loads(path.read_text())
    if outcome.get("digest") != order.digest:
        raise OrderError(
            f"{order.work_dir} belongs to another order ({outcome.get('key')}): each needs its own"
        )
    return outcome


def main(arguments: list[str] | None = None) -> int:
    """Run the program; return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    if len(arguments) != 1:
        print("usage: process_runner.py ORDER.json", file=sys.stderr)
        return 3
    try:
        order = Order.read(Path(arguments[0]))
        order.work_dir.mkdir(parents=True, exist_ok=True)
        with (order.work_dir / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OrderError(f"another process is working in {order.work_dir}") from None
            outcome = finished_before(order)
            if outcome is None:
                outcome = asdict(do_order(order))
    except (OrderError, OSError) as error:
        print(f"process_runner: {error}", file=sys.stderr)
        return 3
    print(outcome["message"])
    return int(outcome["exit_code"])


if __name__ == "__main__":
    sys.exit(main())
