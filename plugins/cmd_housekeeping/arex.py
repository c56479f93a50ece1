"""A client of A-REX's REST interface, versions 1.0 and 1.1: sets of jobs, files of sessions.

TLS is strict, redirects are not followed, proxies and netrc are not read. The credential is read
anew whenever its file changes, because proxies and tokens are renewed while we run.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from cmd_daemon.hooks import DriverError, ErrorClass, quoted
from cmd_housekeeping.settings import ArcSettings

VERSIONS = ("1.1", "1.0")
JOBS_IN_ONE_CALL = 200

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class NewJob:
    """The answer to one submitted description: the job's id, or why it was not taken."""

    id: str
    status: int
    reason: str


def listed(value: Any) -> list[Json]:
    """A list of objects, where A-REX gives a single one as itself and none as nothing."""
    items = value if isinstance(value, list) else [] if value is None else [value]
    return [item for item in items if isinstance(item, dict)]


def jobs_of(document: Any) -> list[Json]:
    """The jobs of an answer."""
    return listed(document.get("job") if isinstance(document, dict) else None)


def first(value: Any) -> str:
    """A value that may come as itself or as a list, as text."""
    item = value[0] if isinstance(value, list) and value else value
    return "" if item is None or isinstance(item, list | dict) else str(item)


class Arex:
    """One computing element.

    All methods raise DriverError: TRANSIENT when it cannot be reached or is busy, PERMANENT when
    it does not accept the credential or our trust is not met, UNKNOWN when a call that changes
    something was sent and its answer did not come.
    """

    def __init__(self, facility: str, settings: ArcSettings) -> None:
        self._settings = settings
        self._there = f"the ARC computing element {settings.url} (facility {facility})"
        self._client: httpx.AsyncClient | None = None
        self._stamps: tuple[int, ...] = ()
        self._base = ""
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        """Let go of the connections; may be used again."""
        client, self._client, self._base = self._client, None, ""
        if client is not None:
            await client.aclose()

    # ---- the ground

    def _stamps_now(self) -> tuple[int, ...]:
        """When the files of the trust and the credential were changed. DriverError PERMANENT if
        one is missing."""
        settings = self._settings
        paths = [settings.ca, settings.cert, settings.key]
        try:
            return tuple(path.stat().st_mtime_ns for path in paths if path is not None)
        except OSError as error:
            raise DriverError(
                ErrorClass.PERMANENT, f"the credential for {self._there} cannot be read: {error}"
            ) from error

    def _trust(self) -> ssl.SSLContext:
        settings = self._settings
        try:
            context = ssl.create_default_context(cafile=str(settings.ca))
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if settings.cert is not None:
                context.load_cert_chain(settings.cert, settings.key or settings.cert)
        except (OSError, ssl.SSLError) as error:
            raise DriverError(
                ErrorClass.PERMANENT, f"the credential for {self._there} cannot be used: {error}"
            ) from error
        return context

    async def _ready(self) -> httpx.AsyncClient:
        async with self._opening:
            stamps = await asyncio.to_thread(self._stamps_now)
            if self._client is None or stamps != self._stamps:
                trust = await asyncio.to_thread(self._trust)
                await self.close()
                settings = self._settings
                self._client = httpx.AsyncClient(
                    verify=trust,
                    http2=False,
                    trust_env=False,
                    follow_redirects=False,
                    timeout=httpx.Timeout(settings.call_s, connect=settings.connect_s),
                    limits=httpx.Limits(max_connections=8, keepalive_expiry=30.0),
                )
                self._stamps = stamps
            return self._client

    async def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json"}
        file = self._settings.token_file
        if file is not None:
            try:
                token = (await asyncio.to_thread(file.read_text)).strip()
            except OSError as error:
                token = ""
                cause = f": {error}"
            else:
                cause = ": it is empty"
            if not token or any(char.isspace() for char in token):
                raise DriverError(
                    ErrorClass.PERMANENT, f"no token for {self._there} in {file}{cause}"
                )
            headers["Authorization"] = f"Bearer {token}"
        return headers

    async def _call(
        self, method: str, path: str, *, changes: bool = False, **more: Any
    ) -> httpx.Response:
        """One request. `changes`: a lost answer leaves it open whether it took effect."""
        client = await self._ready()
        headers = {**await self._headers(), **more.pop("headers", {})}
        url = path if path.startswith("https://") else f"{self._settings.url}{path}"
        try:
            answer = await client.request(method, url, headers=headers, **more)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise self._unreached(error) from error
        except httpx.HTTPError as error:
            lost = ErrorClass.UNKNOWN if changes else ErrorClass.TRANSIENT
            words = str(error) or type(error).__name__
            raise DriverError(lost, f"{self._there} did not answer {method}: {words}") from error
        self._check(
            answer.status_code,
            quoted(answer.text, answer.request.headers.get("Authorization", "")),
            changes,
        )
        return answer

    def _unreached(self, error: Exception) -> DriverError:
        """A failure before anything was sent."""
        text = str(error) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in text or "certificate verify failed" in text:
            return DriverError(
                ErrorClass.PERMANENT,
                f"{self._there} shows a certificate that {self._settings.ca} does not vouch for: "
                f"{text}",
            )
        return DriverError(ErrorClass.TRANSIENT, f"{self._there} cannot be reached: {text}")

    def _check(self, status: int, text: str, changes: bool) -> None:
        """Raise for an answer that is no success, except 404, which means something to callers."""
        if status < 300 or status == 404:
            return
        words = f"{self._there} answered {status}: {text.strip()[:300]}"
        if status in (401, 403):
            what = "token" if self._settings.token_file else "certificate"
            raise DriverError(
                ErrorClass.PERMANENT, f"{words}; is our {what} valid, and are we allowed there?"
            )
        if status in (408, 425, 429, 503):
            raise DriverError(ErrorClass.TRANSIENT, f"{words}; it is busy")
        if status >= 500:
            hint = "; version 7 also answers 500 when it does not accept the credential"
            kind = ErrorClass.UNKNOWN if changes else ErrorClass.TRANSIENT
            raise DriverError(kind, words + hint)
        raise DriverError(ErrorClass.PERMANENT, words)

    def _json(self, answer: httpx.Response) -> Any:
        """The document of an answer; an empty list comes as nothing at all."""
        if answer.is_success and not answer.content.strip():
            return {}
        try:
            return answer.json()
        except ValueError as error:
            raise DriverError(
                ErrorClass.TRANSIENT,
                f"{self._there} gave no JSON: {answer.text.strip()[:200]!r}",
            ) from error

    async def _rest(self) -> str:
        """The path of the newest version that both sides speak."""
        if not self._base:
            told = self._json(await self._call("GET", "/rest"))
            known = told.get("version") if isinstance(told, dict) else None
            offered = [str(each) for each in (known if isinstance(known, list) else [known])]
            spoken = [version for version in VERSIONS if version in offered]
            if not spoken:
                raise DriverError(
                    ErrorClass.PERMANENT,
                    f"{self._there} speaks the REST versions {offered}, we speak {VERSIONS}",
                )
            self._base = f"/rest/{spoken[0]}"
        return self._base

    # ---- jobs

    async def list_ids(self) -> list[str]:
        """The ids of all our jobs there, in any state."""
        told = self._json(await self._call("GET", f"{await self._rest()}/jobs"))
        return [first(job.get("id")) for job in jobs_of(told)]

    async def submit(self, descriptions: Sequence[str]) -> list[NewJob]:
        """Submit descriptions; the answers in their order. DriverError UNKNOWN if nobody knows."""
        text = (
            descriptions[0]
            if len(descriptions) == 1
            else "+" + "".join(f"({each})" for each in descriptions)
        )
        answer = await self._call(
            "POST",
            f"{await self._rest()}/jobs",
            changes=True,
            params={"action": "new"},
            content=text.encode(),
            headers={"Content-Type": "application/rsl"},
        )
        try:
            jobs = jobs_of(answer.json())
        except ValueError:
            jobs = []
        if len(jobs) != len(descriptions):
            raise DriverError(
                ErrorClass.UNKNOWN,
                f"{self._there} answered for {len(jobs)} of {len(descriptions)} jobs",
            )
        return [
            NewJob(first(job.get("id")), _status(job), first(job.get("reason"))) for job in jobs
        ]

    async def act(self, action: str, ids: Iterable[str]) -> dict[str, Json]:
        """`status`, `info`, `kill` or `clean` for sets of jobs: the answers by id, each with a
        status code of its own under `status-code` (404: unknown)."""
        wanted = list(ids)
        answers: dict[str, Json] = {}
        for start in range(0, len(wanted), JOBS_IN_ONE_CALL):
            some = wanted[start : start + JOBS_IN_ONE_CALL]
            body = {"job": [{"id": each} for each in some]}
            answer = await self._call(
                "POST", f"{await self._rest()}/jobs", params={"action": action}, json=body
            )
            jobs = jobs_of(self._json(answer))
            for place, job in enumerate(jobs):
                name = first(job.get("id")) or (some[place] if len(jobs) == len(some) else "")
                answers[name] = {**job, "status-code": _status(job)}
        return answers

    # ---- files of sessions

    async def upload(self, job: str, name: str, text: str) -> bool:
        """Put an input file; False if the job takes none any more."""
        path = f"{await self._rest()}/jobs/{job}/session/{name}"
        answer = await self._call("PUT", path, content=text.encode())
        return answer.status_code < 300

    async def download(self, job: str, name: str, offset: int = 0) -> AsyncIterator[bytes]:
        """The bytes of a session's file from an offset on; nothing for a missing file."""
        client = await self._ready()
        headers = await self._headers()
        if offset:
            headers["Range"] = f"bytes={offset}-"
        url = f"{self._settings.url}{await self._rest()}/jobs/{job}/session/{name}"
        try:
            async with client.stream("GET", url, headers=headers) as answer:
                if answer.status_code in (404, 416):
                    return
                if answer.status_code >= 300:
                    text = (await answer.aread()).decode(errors="replace")
                    self._check(answer.status_code, text, changes=False)
                skip = offset if answer.status_code == 200 else 0  # the range was not heeded
                async for piece in answer.aiter_raw():
                    if skip >= len(piece):
                        skip -= len(piece)
                        continue
                    yield piece[skip:]
                    skip = 0
        except httpx.HTTPError as error:
            raise DriverError(
                ErrorClass.TRANSIENT,
                f"{name} of job {job} does not come from {self._there}: {error}",
            ) from error

    async def save(self, job: str, name: str, file: Path) -> int:
        """Bring a session's file here, going on where a former try stopped; its bytes."""
        offset = file.stat().st_size if file.exists() else 0
        with file.open("ab") as out:
            async for piece in self.download(job, name, offset):
                await asyncio.to_thread(out.write, piece)
                offset += len(piece)
        return offset


def _status(job: Mapping[str, Any]) -> int:
    word = first(job.get("status-code"))
    return int(word) if word.isdigit() else 0
