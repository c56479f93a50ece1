"""The connection of one `cm` call, made when a command needs it, with its errors turned for people.

The client library is imported here and not before: `cm --help` needs neither gRPC nor tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cm_client import Client


@dataclass(frozen=True, slots=True)
class Caller:
    """How to reach the daemon, as given on the command line. `timeout` in seconds."""

    address: str | None = None
    actor: str | None = None
    timeout: float | None = None

    @contextmanager
    def connect(self) -> Iterator[Client]:
        """A client whose errors end the command with a paragraph for people.

        Raises click.UsageError if the address or the actor cannot be used.
        """
        from cm_client import Client, CmError

        from .errors import refusal

        try:
            client = Client(self.address, actor=self.actor)
        except ValueError as problem:
            raise click.UsageError(str(problem)) from None
        with client:
            try:
                yield client.within(self.timeout) if self.timeout else client
            except CmError as error:
                raise refusal(error) from error


pass_caller = click.make_pass_decorator(Caller, ensure=True)
