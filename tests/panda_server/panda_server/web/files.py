"""Files: the sandbox cache, JEDI's brokerage logs, and the pilots' logs, with ranges."""

import re
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panda_server.web.calls import Answer, Context, call, no, ok
from panda_server.web.exchange import Request, Response

if TYPE_CHECKING:
    from panda_server.model.world import World

CACHE = "/cache/"
JEDI_LOG = "/cache/jedilog/"
LOGS = "/logs/"


def form_files(content_type: str, body: bytes) -> dict[str, Any]:
    """The files of a form: field -> (file name, bytes)."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + body)
    found: dict[str, Any] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        found[str(name)] = (part.get_filename() or "", part.get_payload(decode=True))
    return found


@call("file_server/upload_cache_file", "POST")
def upload_cache_file(at: Context, file) -> Answer:
    """Keep a file; one of the same name is not overwritten."""
    name, content = file
    name = name.rsplit("/", 1)[-1]
    if name in at.world.files:
        return no("ERROR: cannot overwrite file")
    at.world.files[name] = content
    return ok()


@call("file_server/download_jedi_log", "GET")
def download_jedi_log(at: Context, log_name: str, offset: int = 0) -> str:
    """A log of JEDI behind a blank; the blank alone where there is none."""
    return " " + at.world.jedi_logs.get(log_name.rsplit("/", 1)[-1], "")[offset:]


class Files:
    """`GET /cache/...`, and the logs of jobs that were run below `jobs`."""

    def __init__(self, jobs: Path | None = None) -> None:
        self.jobs = jobs

    def __call__(self, request: Request, world: "World") -> Response | None:
        path = request.path
        if path.startswith(JEDI_LOG):
            log = world.jedi_logs.get(path.removeprefix(JEDI_LOG))
            return Response(200, log) if log is not None else Response(404, "Not Found")
        if path.startswith(CACHE):
            content = world.files.get(path.removeprefix(CACHE))
            return self._ranged(request, content)
        if path.startswith(LOGS):
            return self._ranged(request, self._log(path.removeprefix(LOGS)))
        return None

    def _log(self, path: str) -> bytes | None:
        found = re.fullmatch(r"[\w.-]+/PandaJob_(\d+)/([\w.]+)", path)
        if self.jobs is None or found is None:
            return None
        file = self.jobs / found[1] / found[2]
        return file.read_bytes() if file.is_file() else None

    def _ranged(self, request: Request, content: bytes | None) -> Response:
        if content is None:
            return Response(404, "Not Found")
        wanted = re.fullmatch(r"bytes=(-?\d+)-?", request.headers.get("range", ""))
        if wanted is None:
            return Response(200, content)
        start = int(wanted[1])
        start = max(len(content) + start, 0) if start < 0 else start
        if start >= len(content):
            return Response(416, b"")
        where = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return Response(206, content[start:], {"content-range": where})
