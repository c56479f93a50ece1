"""Calls to a Rucio server that do not block the daemon.

The library's client blocks, so calls run in a few threads of our own, each with a client of its own.
Whatever goes wrong is a `RucioFault` that says what may be done.
"""

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from cmd_rucio_butler.connecting import make_client
from cmd_rucio_butler.faults import RucioFault, fault_of
from cmd_rucio_butler.settings import RucioSettings

FIRST_PAUSE_S = 0.5
LAST_PAUSE_S = 15.0
"""Seconds between two tries to reach a server: the first and the longest pause."""

COLLISIONS = frozenset({"DatabaseException", "ReplicationRuleCreationTemporaryFailed"})
"""What Rucio answers to one of two that make the same replicas at the same time."""

T = TypeVar("T")


class Caller:
    """Makes the calls; `asked` counts them by the first word of what they are about."""

    def __init__(self, settings: RucioSettings, tokens: Path) -> None:
        self._settings = settings
        self._tokens = tokens
        self._pool = ThreadPoolExecutor(settings.threads, thread_name_prefix="rucio")
        self._local = threading.local()
        self._alone = asyncio.Lock()
        self.asked: dict[str, int] = {}

    def close(self) -> None:
        """Let go of the threads; calls under way end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def call(self, what: str, function: Callable[[Any], T], *, patient: bool = True) -> T:
        """Have a client do something in a thread; everything we ask for may be repeated, and is, for the
        settings' patience, while the server cannot be reached or credentials have expired. Raises
        RucioFault, and DriverError if there can be no client."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + (self._settings.patience_s if patient else 0.0)
        pause = FIRST_PAUSE_S
        verb = what.split(" ", 1)[0]
        collided = False
        while True:
            self.asked[verb] = self.asked.get(verb, 0) + 1
            try:
                # Two that write the same files at once would hinder each other again and again.
                async with self._alone if collided else contextlib.nullcontext():
                    return await loop.run_in_executor(self._pool, self._work, what, function)
            except RucioFault as fault:
                if not fault.kind.passes or loop.time() + pause > give_up_at:
                    raise
                collided = fault.name in COLLISIONS
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, LAST_PAUSE_S)

    def _secrets(self) -> list[str]:
        """What this thread's client sends and nobody else may read."""
        client = getattr(self._local, "client", None)
        found = [str(getattr(client, "auth_token", None) or "")]
        for file in (self._settings.password_file, self._settings.token_file):
            if file is not None:
                with contextlib.suppress(OSError, UnicodeDecodeError):
                    found.append(file.read_text().strip())
        return found

    def _work(self, what: str, function: Callable[[Any], T]) -> T:
        """A call, in its thread."""
        try:
            client = getattr(self._local, "client", None)
            if client is None:
                client = self._local.client = make_client(self._settings, self._tokens)
            return function(client)
        except Exception as error:
            fault = fault_of(error, what, self._settings.server, self._secrets())
            if fault is None:
                raise
            raise fault from error
