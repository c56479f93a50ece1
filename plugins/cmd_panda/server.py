"""A client of one PanDA server: the calls of its API v1 that the driver needs, and the relay to iDDS.

Not panda-client: that one asks the name service on import, shells out with the token on a command line
and leaves TLS unchecked. TLS is strict here, redirects are not followed, proxies and netrc not read.
"""

import asyncio
import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

import httpx

from cmd_daemon.hooks import quoted
from cmd_panda.faults import (
    Answer,
    Kind,
    PandaFault,
    commanded,
    enveloped,
    needed,
    parsed,
    refuse_status,
    refused,
    unpaired,
)
from cmd_panda.identity import Identity, Stamp
from cmd_panda.records import (
    InputFile,
    JobRecord,
    QueueLoad,
    QueueSpec,
    RequestRecord,
    TaskRecord,
    job_record,
    queue_loads,
    queue_specs,
    request_records,
    task_record,
)
from cmd_panda.settings import PandaSettings

API = "/api/v1"
RELAY = "/server/panda/relay_idds_command"
"""The old path: reading requests over the new one fails at the server."""

PATIENCE_S = 600.0
"""Seconds for an answer that may be long, as PanDA's own client has."""

Json = Mapping[str, Any]


def since_text(at: int) -> str:
    """A moment (microseconds UTC) as `since` takes it; a T in it makes the call fail."""
    return datetime.fromtimestamp(at // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")


class PandaServer:
    """One server as one account. All methods raise PandaFault, a DriverError whose class says what may
    be done; one of a call that changes something is LOST (UNKNOWN) only if the call may have been
    carried out. `asked` counts the requests that were sent."""

    def __init__(self, settings: PandaSettings, now: Callable[[], int]) -> None:
        self._settings = settings
        self.there = f"the PanDA server {settings.server}"
        self.identity = Identity(settings, now)
        self._client: httpx.AsyncClient | None = None
        self._stamps: tuple[Stamp, ...] = ()
        self._opening = asyncio.Lock()
        self._room = asyncio.Semaphore(settings.calls)
        self.asked = 0

    async def close(self) -> None:
        """Let go of the connections; may be used again."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    # ---- the ground

    async def _ready(self) -> httpx.AsyncClient:
        async with self._opening:
            stamps = await asyncio.to_thread(self.identity.stamps)
            if self._client is None or stamps != self._stamps:
                trust = await self.identity.trust()
                await self.close()
                settings = self._settings
                self._client = httpx.AsyncClient(
                    base_url=settings.server,
                    verify=trust,
                    trust_env=False,
                    follow_redirects=False,
                    limits=httpx.Limits(max_connections=settings.calls, keepalive_expiry=30.0),
                )
                self._stamps = stamps
            return self._client

    async def _send(
        self,
        method: str,
        path: str,
        changes: bool,
        params: Json | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> str:
        """The text of an answer with a status that is one."""
        credential = await self.identity.headers()
        client = await self._ready()
        # Without this Accept header the server answers in Python's own form.
        own = {"Accept": "application/json", **(headers or {}), **credential}
        async with self._room:
            self.asked += 1
            try:
                answer = await client.request(
                    method,
                    path,
                    params=params,
                    content=content,
                    headers=own,
                    timeout=self._patience(timeout_s),
                )
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
                self._unreached(error)
            except httpx.HTTPError as error:
                kind = Kind.LOST if changes else Kind.DOWN
                words = str(error) or type(error).__name__
                raise PandaFault(kind, f"{self.there} did not answer {path}: {words}") from error
        words = quoted(answer.text, answer.request.headers.get("Authorization", ""))
        refuse_status(answer.status_code, words, self.there, changes)
        return answer.text

    def _patience(self, timeout_s: float | None) -> httpx.Timeout:
        settings = self._settings
        return httpx.Timeout(timeout_s or settings.timeout_s, connect=settings.connect_s)

    def _unreached(self, error: Exception) -> NoReturn:
        """A failure before anything was sent."""
        words = str(error) or type(error).__name__
        if "certificate verify failed" in words.lower().replace("_", " "):
            trusted = self._settings.ca or "this machine"
            raise PandaFault(
                Kind.CREDENTIAL,
                f"{self.there} shows a certificate that {trusted} does not vouch for: {words}",
            ) from error
        raise PandaFault(Kind.DOWN, f"{self.there} cannot be reached: {words}") from error

    async def _get(self, call: str, timeout_s: float | None = None, **params: Any) -> Answer:
        path = f"{API}/{call}"
        body = await self._send("GET", path, False, params=params, timeout_s=timeout_s)
        return enveloped(parsed(body, self.there, False), self.there, False)

    async def _post(self, call: str, **arguments: Any) -> Answer:
        body = await self._send(
            "POST",
            f"{API}/{call}",
            True,
            content=json.dumps(arguments).encode(),
            headers={"Content-Type": "application/json"},
        )
        return enveloped(parsed(body, self.there, True), self.there, True)

    async def _read(self, call: str, **params: Any) -> Any:
        return needed(await self._get(call, **params), self.there)

    async def _command(self, call: str, **arguments: Any) -> None:
        commanded(await self._post(call, **arguments), self.there)

    # ---- the server

    async def greet(self) -> None:
        """Make sure that the server is one we can speak with, and knows us. An old one forbids the
        question."""
        try:
            answer = await self._get("system/is_alive")
        except PandaFault as fault:
            if fault.kind is Kind.DEFECT:
                raise PandaFault(
                    Kind.DEFECT,
                    f"{self.there} has no API v1: PanDA 1.0 or newer is needed ({fault})",
                ) from fault
            raise
        needed(answer, self.there)
        await self.whoami()

    async def whoami(self) -> str:
        """Our name there. Raises ROLE if the credential asks for the production role in vain."""
        told = await self._read("system/get_user_attributes")
        wanted = self._settings.origin.partition(":")[2] == "production"
        if wanted and isinstance(told, Mapping) and not told.get("is_production_user"):
            raise PandaFault(Kind.ROLE, f"{self.there} does not take us for a production user")
        return str(told.get("user_dn_clean") or "") if isinstance(told, Mapping) else ""

    # ---- tasks

    async def submit_task(self, parameters: Json) -> int:
        """Submit a task and give its id; also that of one of the same unique name that is there
        already. Raises FULL where we have too many tasks."""
        answer = await self._post("task/submit", task_parameters=dict(parameters))
        named = _named_task(answer.message)
        if answer.success and isinstance(answer.data, int) and not isinstance(answer.data, bool):
            # Code 3: a task of that name was over and runs again; its data is the code and not an id.
            return named if named is not None else answer.data
        if answer.data in (1, 2) and named is not None:
            return named
        if answer.data == 10:
            raise PandaFault(Kind.FULL, f"{self.there}: {answer.message}")
        raise refused(answer, self.there)

    async def task_parameters(self, task: int) -> Json | None:
        """What a task was submitted with, at once after its submission; None for an unknown id."""
        answer = await self._get("task/get_task_parameters", task_id=task)
        if not answer.success and "not found" in answer.message.lower():
            return None
        told = needed(answer, self.there)
        return told if isinstance(told, Mapping) else None

    async def task(self, task: int) -> TaskRecord | None:
        """One task; None if the server has none of that id, or has not refined it yet."""
        answer = await self._get("task/get_detailed_info", task_id=task)
        if not answer.success and "not found" in answer.message.lower():
            return None
        return self._task(needed(answer, self.there))

    async def tasks_since(
        self,
        since: int,
        limit: int,
        filters: Mapping[str, str] | None = None,
        patient: bool = False,
    ) -> tuple[list[TaskRecord], bool]:
        """Our tasks that were modified since a moment (microseconds UTC), and whether the list was cut:
        it then ends before the newest. Filters are equalities: no patterns, which the server applies
        only after it has cut. `patient`: it may be long, and the server reads task by task."""
        params: dict[str, Any] = {"since": since_text(since), "n_tasks": limit}
        if filters:
            params["filters"] = json.dumps(dict(filters))
        timeout_s = PATIENCE_S if patient else None
        call = "task/get_tasks_detailed_info_since"
        told = needed(await self._get(call, timeout_s, **params), self.there)
        if not isinstance(told, list):
            raise PandaFault(Kind.SERVER, f"{self.there} gave no list of tasks")
        return [self._task(each) for each in told], len(told) >= limit

    def _task(self, told: Any) -> TaskRecord:
        try:
            return task_record(told)
        except (KeyError, TypeError, ValueError) as error:
            raise PandaFault(
                Kind.SERVER, f"{self.there} gave a task without {error}: is it another version?"
            ) from error

    async def jobs(self, task: int, unsuccessful: bool = False) -> list[JobRecord]:
        """The jobs of a task with those of earlier tries, or only those that failed."""
        told = await self._read(
            "task/get_job_descriptions",
            task_id=task,
            unsuccessful_only="true" if unsuccessful else "false",
        )
        try:
            return [job_record(each) for each in told or () if each is not None]
        except (KeyError, TypeError, ValueError) as error:
            raise PandaFault(Kind.SERVER, f"{self.there} gave a job without {error}") from error

    async def inputs(self, task: int) -> list[InputFile]:
        """The input files of a task and their states."""
        answer = await self._get("task/get_datasets_and_files", task_id=task)
        if not answer.success and "no data found" in answer.message.lower():
            return []
        return [
            InputFile(str(file.get("lfn")), str(file.get("status")))
            for dataset in needed(answer, self.there)
            for file in dataset.get("files", ())
        ]

    # ---- commands: success means registered; that it was done shows in the task's state

    async def kill(self, task: int) -> None:
        """Have a task ended. GONE: unknown or not refined yet; STATE: it is over or on its way."""
        await self._command("task/kill", task_id=task)

    async def pause(self, task: int) -> None:
        """Have a task held. Never for one that is being aborted: that brings it back."""
        await self._command("task/pause", task_id=task)

    async def resume(self, task: int) -> None:
        """Have a held task go on."""
        await self._command("task/resume", task_id=task)

    async def change_priority(self, task: int, priority: int) -> None:
        """Give a task another priority."""
        await self._command("task/change_priority", task_id=task, priority=priority)

    async def change_memory(self, task: int, megabytes: int) -> None:
        """Give the coming jobs of a task another memory limit."""
        await self._command(
            "task/change_attribute", task_id=task, attribute_name="ramCount", value=megabytes
        )

    async def reassign(self, task: int, queue: str) -> None:
        """Move a task to another queue. The server checks neither owner nor state nor target."""
        await self._command("task/reassign", task_id=task, site=queue, mode="soft")

    # ---- queues

    async def queues(self) -> dict[str, QueueSpec]:
        """All queues of the server by name."""
        told = await self._read("metaconfig/get_site_specs", type="all")
        return queue_specs(told if isinstance(told, Mapping) else {})

    async def loads(self) -> dict[str, QueueLoad]:
        """The jobs at each queue; a minute old or more."""
        told = await self._read("statistics/active_job_stats_by_site")
        return queue_loads(told if isinstance(told, Mapping) else {})

    # ---- iDDS

    async def relay(self, command: str, changes: bool, **kwargs: Any) -> Any:
        """One command of iDDS' client, over PanDA; its answer's value."""
        body = {"command_name": command, "kwargs": json.dumps(kwargs), "manager": True}
        answer = await self._send(
            "POST",
            RELAY,
            changes,
            content=gzip.compress(json.dumps(body).encode()),
            headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
        )
        there = f"iDDS at {self._settings.server}"
        return unpaired(parsed(answer, self.there, changes), there, changes)

    async def requests(
        self, request: int | None = None, detail: bool = True
    ) -> list[RequestRecord]:
        """One iDDS request, or all of them. Raises PandaFault."""
        told = await self.relay("get_requests", False, request_id=request, with_detail=detail)
        if isinstance(told, Mapping):
            told = told.get("data")
        if not isinstance(told, Sequence) or isinstance(told, str):
            raise PandaFault(Kind.SERVER, f"iDDS at {self._settings.server} gave no requests")
        return request_records(told)

    async def command_request(self, command: str, request: int) -> None:
        """`abort`, `suspend` or `resume` a request. GONE: there is none; ROLE: it is not ours."""
        told = await self.relay(command, True, request_id=request)
        there = f"iDDS at {self._settings.server}"
        pairs = told if isinstance(told, list) else []
        if pairs and isinstance(pairs[0], int):
            pairs = [pairs]
        for pair in pairs:
            code = pair[0] if isinstance(pair, list) and pair else 0
            if code not in (0, True):
                text = str(pair[1].get("message") if isinstance(pair[1], Mapping) else pair[1])
                kind = Kind.SERVER
                if "No match requests" in text:
                    kind = Kind.GONE
                elif "permission" in text:
                    kind = Kind.ROLE
                raise PandaFault(kind, f"{there}: {text}")


def _named_task(message: str) -> int | None:
    """The id in words such as `jediTaskID=32 is already queued`."""
    _, found, rest = message.partition("jediTaskID=")
    digits = ""
    for char in rest:
        if not char.isdigit():
            break
        digits += char
    return int(digits) if found and digits else None
