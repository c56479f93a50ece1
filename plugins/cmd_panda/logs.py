"""Logs where PanDA says they are: at the pilot's web servers, not at PanDA. No credential goes there."""

import ssl
from collections.abc import AsyncIterator
from functools import cache

import httpx

from cmd_daemon.hooks import DriverError, ErrorClass, LogChunk

TIMEOUT_S = 30.0
PIECE = 64 * 1024


@cache
def _trust() -> ssl.SSLContext:
    return ssl.create_default_context()


async def fetch(url: str, offset: int) -> AsyncIterator[LogChunk]:
    """The bytes of a log from an offset on (negative: that many from the end); nothing where there is
    none yet. Raises DriverError TRANSIENT if it does not come, PERMANENT where it may not be read."""
    if not url.startswith(("http://", "https://")):
        raise DriverError(ErrorClass.PERMANENT, f"the log {url} cannot be fetched over HTTP")
    wanted = {
        "Range": f"bytes={offset}-" if offset >= 0 else f"bytes={offset}",
        "Accept-Encoding": "identity",
    }
    try:
        async with (
            httpx.AsyncClient(
                verify=_trust(), trust_env=False, follow_redirects=False, timeout=TIMEOUT_S
            ) as client,
            client.stream("GET", url, headers=wanted) as answer,
        ):
            if answer.status_code in (404, 416):
                return
            if answer.status_code >= 300:
                kind = ErrorClass.TRANSIENT if answer.status_code >= 500 else ErrorClass.PERMANENT
                raise DriverError(kind, f"the log {url} gave {answer.status_code}")
            if answer.status_code != 206:
                whole = await answer.aread()
                start = offset if offset >= 0 else max(len(whole) + offset, 0)
                if whole[start:]:
                    yield LogChunk(start, whole[start:])
                return
            at = _start(answer.headers.get("Content-Range", ""), offset)
            async for piece in answer.aiter_bytes(PIECE):
                yield LogChunk(at, piece)
                at += len(piece)
    except httpx.HTTPError as error:
        words = str(error) or type(error).__name__
        raise DriverError(ErrorClass.TRANSIENT, f"the log {url} does not come: {words}") from error


def _start(content_range: str, offset: int) -> int:
    """Where a piece begins, as its header tells."""
    first = content_range.removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdigit() else max(offset, 0)
