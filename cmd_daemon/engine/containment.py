"""Calls into plugins, contained: whatever a plugin does, the daemon's own tasks go on."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")

ENDING_S = 1.0
"""Seconds a call that was cancelled may take to end; after that nobody waits for it."""


class PluginFault(Exception):
    """A plugin did what would have ended the task that called it."""


async def contained(call: Awaitable[T], seconds: float) -> T:
    """Await a plugin's call in a task of its own, for so many seconds at most.

    Raises what the plugin raised, TimeoutError (even if the plugin does not let itself be cancelled),
    and PluginFault where the plugin cancelled itself or tried to end the program.
    """
    task = asyncio.ensure_future(_guest(call))
    task.add_done_callback(_take_note)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        await _end(task)
        raise
    if not done:
        await _end(task)
        raise TimeoutError
    if task.cancelled():
        raise PluginFault("it cancelled its own call")
    return task.result()


async def _guest(call: Awaitable[T]) -> T:
    try:
        return await call
    except (SystemExit, KeyboardInterrupt) as error:
        # These would go past every task to the event loop and end the daemon.
        raise PluginFault(f"it tried to end the program: {error!r}") from error


async def _end(task: "asyncio.Task[T]") -> None:
    task.cancel()
    await asyncio.wait({task}, timeout=ENDING_S)


def _take_note(task: "asyncio.Task[T]") -> None:
    # A late error of a call nobody waits for any more is no news.
    if not task.cancelled():
        task.exception()
