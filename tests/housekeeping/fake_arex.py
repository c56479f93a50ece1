"""A computing element of the tests' own: A-REX's REST contract over TLS, oddities included.

As on the real ones: a single job is an object and several are a list; each job of a set has its own
status code; a file that is not an output is deleted at the end; the list calls a killed job FAILED
while `status` says KILLED; states lag; names are not unique; without a credential version 6 says
403 and version 7 says 500; version 6 does not know REST 1.1. Jobs really run, as processes here.
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import ssl
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import h11

STRING = re.compile(r'"((?:[^"]|"")*)"')


def groups(text: str) -> list[str]:
    """What stands in the outermost brackets of a text, with regard to quotes."""
    found, depth, quoted, start = [], 0, False, 0
    for at, char in enumerate(text):
        if char == '"':
            quoted = not quoted
        elif not quoted and char == "(":
            depth += 1
            start = at + 1 if depth == 1 else start
        elif not quoted and char == ")":
            depth -= 1
            if depth == 0:
                found.append(text[start:at])
    return found


def attributes(rsl: str) -> dict[str, list[str]]:
    """The attributes of one description: name -> strings, with doubled quotes undone."""
    found: dict[str, list[str]] = {}
    for group in groups(rsl.strip().removeprefix("&")):
        name, _, value = group.partition("=")
        strings = [text.replace('""', '"') for text in STRING.findall(value)]
        found.setdefault(name, []).extend(strings)
    return found


def descriptions(text: str) -> list[str]:
    """The descriptions of one request: one, or several behind a plus sign."""
    return groups(text) if text.startswith("+") else [text]


@dataclass
class Job:
    """A job and its session."""

    id: str
    name: str
    session: Path
    inputs: set[str]
    outputs: set[str]
    memory: str
    created: str
    state: str = "ACCEPTING"
    told: str = "ACCEPTING"
    code: int | None = None
    killed: bool = False
    process: asyncio.subprocess.Process | None = None
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)


class FakeArex:
    """The server. Faults are switched by its attributes."""

    def __init__(self, root: Path, version: int = 7) -> None:
        self.root = root
        self.version = version
        self.jobs: dict[str, Job] = {}
        self.runs: Counter[str] = Counter()
        self.requests: list[str] = []
        self.token = "the-token"
        self.lag_s = 0.0
        self.kill_s = 0.0
        self.slow_s = 0.0
        self.busy = False
        self.broken = False
        self.lose_answers = False
        self.refuse: set[str] = set()
        self.hide_names = False
        self.no_uploads = False
        self.cut_downloads = 0
        self._server: asyncio.Server | None = None
        self._numbers = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Its address."""
        assert self._server is not None
        return f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/arex"

    async def start(self, tls: ssl.SSLContext) -> None:
        """Listen on a free loopback port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)

    async def stop(self) -> None:
        """Stop listening, and end what runs."""
        if self._server is not None:
            self._server.close()
        for job in self.jobs.values():
            self._kill(job)
        for task in [*self._tasks, *(task for job in self.jobs.values() for task in job.tasks)]:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    # ---- jobs

    def add(self, rsl: str) -> Job:
        """Take a job, without looking at its name."""
        told = attributes(rsl)
        self._numbers += 1
        number = f"job{self._numbers:06d}"
        session = self.root / number
        session.mkdir(parents=True)
        job = Job(
            id=number,
            name=told["jobname"][0],
            session=session,
            inputs=set(told.get("inputfiles", [])[::2]),
            outputs=set(told.get("outputfiles", [])[::2]),
            memory=told.get("memory", [""])[0],
            created=time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{self._numbers:06d}Z",
        )
        assert told["executable"] == ["run.sh"], told
        assert told["stdout"] == ["log.txt"], told
        self.jobs[number] = job
        self._task(job, self._run(job))
        return job

    def _task(self, job: Job, work: Any) -> None:
        task = asyncio.create_task(work)
        job.tasks.add(task)
        task.add_done_callback(job.tasks.discard)

    def _say(self, job: Job, state: str) -> None:
        """The state, which outsiders see only after the lag."""
        job.state = state

        async def later() -> None:
            await asyncio.sleep(self.lag_s)
            job.told = state

        if self.lag_s:
            self._task(job, later())
        else:
            job.told = state

    async def _run(self, job: Job) -> None:
        self._say(job, "PREPARING")
        while not all((job.session / name).exists() for name in job.inputs):
            if job.killed:
                self._say(job, "KILLED")
                return
            await asyncio.sleep(0.02)
        if job.killed:
            self._say(job, "KILLED")
            return
        self.runs[job.name] += 1
        (job.session / "run.sh").chmod(0o755)
        with (job.session / "log.txt").open("ab") as log:
            job.process = await asyncio.create_subprocess_exec(
                "./run.sh", cwd=job.session, stdout=log, stderr=log, start_new_session=True
            )
        self._say(job, "RUNNING")
        job.code = await job.process.wait()
        for file in job.session.iterdir():
            if file.name not in job.outputs:
                file.unlink() if file.is_file() else shutil.rmtree(file)
        ended = "FINISHED" if job.code == 0 else "FAILED"
        self._say(job, "KILLED" if job.killed else ended)

    def _kill(self, job: Job) -> None:
        if job.process is not None and job.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job.process.pid, signal.SIGKILL)

    async def _kill_later(self, job: Job) -> None:
        await asyncio.sleep(self.kill_s)
        self._kill(job)

    # ---- HTTP

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._converse(h11.Connection(h11.SERVER), reader, writer)
        except (OSError, h11.RemoteProtocolError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _converse(
        self, wire: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            request, body = None, b""
            while True:
                event = wire.next_event()
                if event is h11.NEED_DATA:
                    wire.receive_data(await reader.read(65536))
                elif isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    break
                else:
                    return
            assert request is not None
            peer = bool(writer.get_extra_info("peercert"))
            answer = await self._answer(request, body, peer)
            if answer is None:
                writer.transport.abort()  # the answer is lost on its way
                return
            status, content = answer
            headers = [("Content-Length", str(len(content)))]
            cut = len(content) > 1_000_000 and self.cut_downloads > 0
            writer.write(wire.send(h11.Response(status_code=status, headers=headers)) or b"")
            if cut:
                self.cut_downloads -= 1
                writer.write(wire.send(h11.Data(data=content[: len(content) // 2])) or b"")
                await writer.drain()
                return
            writer.write(wire.send(h11.Data(data=content)) or b"")
            writer.write(wire.send(h11.EndOfMessage()) or b"")
            await writer.drain()
            if wire.our_state is h11.MUST_CLOSE:
                return
            wire.start_next_cycle()

    async def _answer(
        self, request: h11.Request, body: bytes, peer: bool
    ) -> tuple[int, bytes] | None:
        target = urlsplit(request.target.decode())
        method = request.method.decode()
        headers = {name.decode().lower(): value.decode() for name, value in request.headers}
        query = {name: values[0] for name, values in parse_qs(target.query).items()}
        self.requests.append(f"{method} {target.path} {query.get('action', '')}".strip())
        if self.slow_s:
            await asyncio.sleep(self.slow_s)
        if self.busy:
            return 503, b"busy"
        if not peer and headers.get("authorization") != f"Bearer {self.token}":
            return (
                (403, b"no credential") if self.version == 6 else (500, b"User can't be identified")
            )
        parts = target.path.removeprefix("/arex/rest").strip("/").split("/")
        if parts == [""]:
            known: Any = ["1.0", "1.1"] if self.version > 6 else "1.0"
            return 200, json.dumps({"version": known}).encode()
        if parts[0] == "1.1" and self.version == 6:
            return 404, b""
        if len(parts) >= 4 and parts[3] == "session":
            return self._file(method, parts[2], parts[-1], body, headers.get("range", ""))
        if parts[1:] == ["jobs"] and method == "GET":
            return 200, self._listed([{"id": job.id} for job in self.jobs.values()])
        if parts[1:] == ["jobs"] and query.get("action") == "new":
            return self._new(body.decode(), headers)
        if parts[1:] == ["jobs"]:
            asked = json.loads(body)["job"]
            asked = asked if isinstance(asked, list) else [asked]
            answers = [self._act(query["action"], each["id"]) for each in asked]
            return 201, self._listed(answers)
        return 404, b""

    @staticmethod
    def _listed(items: list[Any]) -> bytes:
        """One job as an object, several as a list, none as nothing."""
        if not items:
            return b""
        return json.dumps({"job": items[0] if len(items) == 1 else items}).encode()

    def _new(self, text: str, headers: dict[str, str]) -> tuple[int, bytes] | None:
        assert headers["content-type"] == "application/rsl"
        if self.broken:
            return 500, b"broken"
        answers: list[dict[str, str]] = []
        for rsl in descriptions(text):
            if attributes(rsl)["jobname"][0] in self.refuse:
                answers.append({"status-code": "400", "reason": "bad job description"})
                continue
            job = self.add(rsl)
            answers.append(
                {"status-code": "201", "reason": "Created", "id": job.id, "state": "ACCEPTING"}
            )
        return None if self.lose_answers else (201, self._listed(answers))

    def _act(self, action: str, name: str) -> dict[str, Any]:
        job = self.jobs.get(name)
        if job is None:
            return {"status-code": "404", "reason": "Job not found", "id": name}
        told: dict[str, Any] = {"status-code": "200", "reason": "OK", "id": name}
        if action == "status":
            return {**told, "state": job.told}
        if action == "info":
            if self.hide_names:
                return told
            activity: dict[str, Any] = {
                "Name": job.name,
                "CreationTime": job.created,
                "State": [f"arcrest:{job.told}"],
            }
            if job.code is not None:
                activity["ExitCode"] = str(job.code)
            if job.code:
                activity["Error"] = f"LRMS error: ({job.code}) Job finished with wrong exit code"
            return {**told, "info_document": {"ComputingActivity": activity}}
        if action == "kill":
            if job.state not in ("FINISHED", "FAILED"):
                job.killed = True
                self._task(job, self._kill_later(job))
            return {**told, "status-code": "202", "reason": "Queued for killing"}
        assert action == "clean", action
        self._kill(job)
        shutil.rmtree(job.session, ignore_errors=True)
        del self.jobs[name]
        return {**told, "status-code": "202", "reason": "Queued for cleaning"}

    def _file(
        self, method: str, number: str, name: str, body: bytes, span: str
    ) -> tuple[int, bytes]:
        job = self.jobs.get(number)
        if job is None or "/" in name or name.startswith("."):
            return 404, b""
        file = job.session / name
        if method == "PUT":
            if self.no_uploads:
                return 503, b"no room"
            partial = file.with_name("." + name)
            partial.write_bytes(body)
            partial.rename(file)
            return 200, b""
        if not file.is_file():
            return 404, b""
        data = file.read_bytes()
        if span:
            start = int(span.removeprefix("bytes=").rstrip("-"))
            return (206, data[start:]) if start < len(data) else (416, b"")
        return 200, data
