"""A transfer service with the part of FTS3's REST interface that Rucio uses; it really copies.

    python fts.py PORT

Sources and destinations are `file://` URLs. Sizes and adler32 checksums are verified as the job asks
(source, target, both). Jobs live in memory: after a restart they are unknown (404), as after a loss.

    POST   /jobs                    {"files": [...], "params": {...}} -> {"job_id"}
    GET    /jobs/ID[,ID...]         one job (200) or a list (207)
    POST   /jobs/ID                 new priority
    DELETE /jobs/ID[,ID...]         cancel what has not begun
    GET    /whoami, /
    POST   /fault                   {TEXT: FAULT, ...}: for files whose destination or source URL holds TEXT
    GET    /fault                   the faults, with the number of files each has `hit`
    DELETE /fault                   forget all faults and let everything held go on

A FAULT has any of: `fail` (the error text), `delay_s`, `corrupt` (one byte of the copy is changed),
`hold` (stays ACTIVE until the fault is gone), `refuse` (the submission of the job is answered with
500), `lose` (the job is forgotten after it was accepted), `times` (so many files, then no more).
"""

import contextlib
import json
import re
import sys
import threading
import time
import uuid
import zlib
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COPIERS = 4
BLOCK = 1 << 20
FINAL = ("FINISHED", "FAILED", "CANCELED")

Json = dict[str, Any]


class TransferFailed(Exception):
    """A copy did not succeed; the text is the reason that FTS reports."""


def path_of(url: str) -> Path:
    """The path of a file URL."""
    parts = urlsplit(url)
    if parts.scheme != "file":
        raise TransferFailed(f"SOURCE [93] Protocol not supported: {parts.scheme}")
    return Path(unquote(parts.path))


def adler32(path: Path) -> str:
    """Of the whole file, as eight hexadecimal digits."""
    value = 1
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            value = zlib.adler32(block, value)
    return f"{value:08x}"


def copy(source: Path, target: Path, file: Json, params: Json, corrupt: bool) -> None:
    """Copy one file with the checks that its job asks for."""
    if not source.is_file():
        raise TransferFailed(f"SOURCE [2] {source}: No such file or directory")
    if target.exists() and not params.get("overwrite"):
        raise TransferFailed(
            "DESTINATION [17] Destination file exists and overwrite is not enabled"
        )
    size, expected = file.get("filesize"), (file.get("checksum") or "").split(":")[-1].lower()
    verify = params.get("verify_checksum", "both")
    if size and source.stat().st_size != size:
        raise TransferFailed(f"SOURCE [5] size is {source.stat().st_size}, expected {size}")
    if expected and verify in ("both", "source") and (found := adler32(source)) != expected:
        raise TransferFailed(f"SOURCE CHECKSUM MISMATCH: expected {expected}, found {found}")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part-{uuid.uuid4().hex}")
    try:
        with source.open("rb") as given, part.open("wb") as taken:
            while block := given.read(BLOCK):
                if corrupt:
                    block, corrupt = bytes([block[0] ^ 0xFF]) + block[1:], False
                taken.write(block)
        if expected and verify in ("both", "target") and (found := adler32(part)) != expected:
            raise TransferFailed(
                f"DESTINATION CHECKSUM MISMATCH: expected {expected}, found {found}"
            )
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def utc() -> str:
    """Now, as FTS writes it (UTC)."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())


class Service:
    """The jobs, the faults and the copiers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gone = threading.Condition(self._lock)
        self._jobs: dict[str, Json] = {}
        self._faults: dict[str, Json] = {}
        self._pool = ThreadPoolExecutor(COPIERS)

    def set_faults(self, faults: Json) -> None:
        """Add faults, or replace those of the same text."""
        with self._lock:
            for text, fault in faults.items():
                self._faults[text] = {**fault, "hit": 0}
            self._gone.notify_all()

    def clear_faults(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._faults.clear()
            self._gone.notify_all()

    def faults(self) -> Json:
        """The faults with what they have hit."""
        with self._lock:
            return {text: dict(fault) for text, fault in self._faults.items()}

    def submit(self, job: Json) -> str | None:
        """Take a job; its id, or None where a fault refuses it."""
        files, params = job["files"], job.get("params") or {}
        if any(self._struck(file, "refuse") for file in files):
            return None
        number = str(uuid.uuid4())
        if any(self._struck(file, "lose") for file in files):
            return number
        made: Json = {
            "job_id": number,
            "params": params,
            "files": [self._new_file(file, params) for file in files],
        }
        with self._lock:
            self._jobs[number] = made
        for file in made["files"]:
            self._pool.submit(self._move, file, params)
        return number

    def job(self, number: str) -> Json:
        """One job as FTS shows it."""
        with self._lock:
            job = self._jobs.get(number)
            if job is None:
                return {
                    "job_id": number,
                    "http_status": "404 Not Found",
                    "http_message": "no such job",
                }
            files = [{k: v for k, v in file.items() if k != "order"} for file in job["files"]]
        states = {file["file_state"] for file in files}
        if states - set(FINAL):
            state = "SUBMITTED" if states == {"SUBMITTED"} else "ACTIVE"
        else:
            state = states.pop() if len(states) == 1 else "FINISHEDDIRTY"
        return {
            "job_id": number,
            "http_status": "200 Ok",
            "job_state": state,
            "job_type": "N",
            "job_metadata": job["params"].get("job_metadata") or {},
            "priority": job["params"].get("priority"),
            "files": files,
        }

    def cancel(self, number: str) -> Json:
        """Cancel what has not begun."""
        with self._lock:
            for file in self._jobs.get(number, {}).get("files", ()):
                if file["file_state"] == "SUBMITTED":
                    file.update(
                        file_state="CANCELED", reason="canceled by the user", finish_time=utc()
                    )
        return self.job(number)

    def set_priority(self, number: str, priority: Any) -> Json:
        """Remember a new priority."""
        with self._lock:
            if number in self._jobs:
                self._jobs[number]["params"]["priority"] = priority
        return self.job(number)

    @staticmethod
    def _new_file(file: Json, params: Json) -> Json:
        staged = params.get("bring_online") is not None
        return {
            "order": file,
            "file_state": "SUBMITTED",
            "file_metadata": file.get("metadata") or {},
            "source_surl": file["sources"][0],
            "dest_surl": file["destinations"][0],
            "start_time": None,
            "finish_time": None,
            "staging_start": utc() if staged else None,
            "staging_finished": utc() if staged else None,
            "reason": None,
        }

    def _struck(self, order: Json, kind: str) -> Any:
        """What a fault of this kind holds for the file, counted as a hit; None if there is none."""
        urls = (*order["destinations"], *order["sources"])
        with self._lock:
            for text, fault in self._faults.items():
                if fault.get(kind) and any(text in url for url in urls):
                    if fault["hit"] >= fault.get("times", float("inf")):
                        continue
                    fault["hit"] += 1
                    return fault[kind]
        return None

    def _held(self, order: Json) -> bool:
        """Whether a fault holds the file; the lock is ours."""
        urls = (*order["destinations"], *order["sources"])
        return any(
            fault.get("hold") and any(text in url for url in urls)
            for text, fault in self._faults.items()
        )

    def _move(self, file: Json, params: Json) -> None:
        order = file["order"]
        with self._lock:
            if file["file_state"] != "SUBMITTED":
                return
            file.update(file_state="ACTIVE", start_time=utc())
        try:
            delay = self._struck(order, "delay_s")
            if delay:
                time.sleep(delay)
            with self._lock:
                self._gone.wait_for(lambda: not self._held(order))
            if text := self._struck(order, "fail"):
                raise TransferFailed(text)
            target = path_of(file["dest_surl"])
            corrupt = bool(self._struck(order, "corrupt"))
            last: TransferFailed | None = None
            for url in order["sources"]:
                try:
                    copy(path_of(url), target, order, params, corrupt)
                except TransferFailed as problem:
                    last = problem
                else:
                    done = {"file_state": "FINISHED", "source_surl": url}
                    break
            else:
                raise last or TransferFailed("SOURCE [22] no source given")
        except (TransferFailed, OSError) as problem:
            done = {"file_state": "FAILED", "reason": f"TRANSFER {problem}"}
        with self._lock:
            file.update(done, finish_time=utc())


class Handler(BaseHTTPRequestHandler):
    """Routes of the interface."""

    protocol_version = "HTTP/1.1"
    service: Service

    def do_GET(self) -> None:
        if self.path.startswith("/whoami"):
            self._answer(
                200, {"base_id": str(uuid.NAMESPACE_URL), "vos": ["def"], "user_dn": "/CN=site"}
            )
        elif self.path.startswith("/fault"):
            self._answer(200, self.service.faults())
        elif numbers := self._numbers():
            jobs = [self.service.job(number) for number in numbers]
            self._answer(200 if len(jobs) == 1 else 207, jobs[0] if len(jobs) == 1 else jobs)
        else:
            self._answer(200, {"api": {"major": 3}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        if self.path.startswith("/fault"):
            self.service.set_faults(body)
            self._answer(200, {})
        elif numbers := self._numbers():
            priority = (body.get("params") or {}).get("priority")
            self._answer(200, self.service.set_priority(numbers[0], priority))
        elif number := self.service.submit(body):
            self._answer(200, {"job_id": number})
        else:
            self._answer(500, {"message": "the submission was refused by a fault"})

    def do_DELETE(self) -> None:
        if self.path.startswith("/fault"):
            self.service.clear_faults()
            self._answer(200, {})
        else:
            jobs = [self.service.cancel(number) for number in self._numbers()]
            self._answer(200, jobs[0] if len(jobs) == 1 else jobs)

    def log_message(self, *args: Any) -> None:
        """Nothing: the daemons ask all the time."""

    def _numbers(self) -> list[str]:
        match = re.match(r"/jobs/([^/?]+)", self.path)
        return match.group(1).split(",") if match else []

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError):
            self.wfile.write(data)


def main() -> None:
    """Serve until killed."""
    Handler.service = Service()
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
