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
    from pathlib import Path

    from cm_client import Client, Credentials


@dataclass(frozen=True, slots=True)
class Caller:
    """How to reach the daemon, as given on the command line. `timeout` in seconds."""

    address: str | None = None
    actor: str | None = None
    timeout: float | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    token_file: Path | None = None

    def credentials(self) -> Credentials:
        """As given, else by the environment. Raises click.UsageError if they cannot be used."""
        from cm_client import Credentials

        try:
            return Credentials.find(self.ca, self.certificate, self.key, self.token_file)
        except ValueError as problem:
            raise click.UsageError(str(problem)) from None

    @contextmanager
    def connect(self, credentials: Credentials | None = None) -> Iterator[Client]:
        """A client whose errors end the command with a paragraph for people.

        Raises click.UsageError if the address, the actor or the credentials cannot be used.
        """
        from cm_client import Client, CmError

        from .errors import refusal

        try:
            proof = credentials or self.credentials()
            client = Client(self.address, actor=self.actor, credentials=proof)
            _ = client.address.metadata  # a token that cannot be sent is told of here
        except ValueError as problem:
            raise click.UsageError(str(problem)) from None
        with client:
            try:
                yield client.within(self.timeout) if self.timeout else client
            except CmError as error:
                raise refusal(error) from error


pass_caller = click.make_pass_decorator(Caller, ensure=True)
