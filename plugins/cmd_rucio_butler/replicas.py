"""Calls to a Rucio server about replicas: how much of datasets RSEs have, what moves between them, and
what is no more where it was."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from cmd_rucio_butler.calling import Caller
from cmd_rucio_butler.faults import RucioFault
from cmd_rucio_butler.settings import RucioSettings

MOST = 1000
"""Names in one call, at most."""


@dataclass(frozen=True, slots=True)
class Replica:
    """How much of a dataset an RSE has, files and bytes; `whole` if that is all of it."""

    name: str
    rse: str
    files: int
    bytes: int
    whole: bool


class Locked(Exception):
    """A rule holds the file where it is."""

    def __init__(self, lfn: str) -> None:
        super().__init__(lfn)
        self.lfn = lfn


class ReplicaCalls:
    """The calls, for one scope of the server at `url`."""

    def __init__(self, settings: RucioSettings, tokens: Path) -> None:
        self._account = settings.account
        self._caller = Caller(settings, tokens)
        self._call = self._caller.call
        self._scope = settings.scope
        self.url = settings.server

    def within(self, scope: str) -> Self:
        """The same server for files and datasets of a scope."""
        view = copy.copy(self)
        view._scope = scope
        return view

    @property
    def asked(self) -> dict[str, int]:
        """Calls so far, by the first word of what they are about."""
        return self._caller.asked

    def close(self) -> None:
        """Let go of the threads; calls under way end by themselves."""
        self._caller.close()

    async def replicas(self, names: Sequence[str]) -> list[Replica]:
        """The replicas of datasets by Rucio's summary, which names only RSEs that have, or had, a rule
        for them, and may be some minutes old."""
        found: list[Replica] = []
        for start in range(0, len(names), MOST):
            dids = [{"scope": self._scope, "name": name} for name in names[start : start + MOST]]
            told = await self._call("replicas listed", partial(_replicas_of, dids), patient=False)
            found += [_replica(each) for each in told]
        return found

    async def counted_replicas(self, name: str) -> list[Replica]:
        """The replicas of one dataset as its files show them now; none if there is no such dataset."""
        scope = self._scope
        told = await self._call(
            f"replicas of {name}",
            lambda client: list(client.list_dataset_replicas(scope, name, deep=True)),
            patient=False,
        )
        return [_replica(each) for each in told]

    async def held_at(self, rse: str, lfns: Sequence[str]) -> list[str]:
        """Those of the files of which Rucio says that an RSE has them now."""
        held: list[str] = []
        for start in range(0, len(lfns), MOST):
            dids = [{"scope": self._scope, "name": lfn} for lfn in lfns[start : start + MOST]]
            told = await self._call(f"replicas at {rse}", partial(_replicas_at, dids, rse))
            held += [str(each["name"]) for each in told if rse in (each.get("rses") or {})]
        return held

    async def bury(self, rse: str, lfns: Sequence[str]) -> None:
        """Give replicas that lie at an RSE tombstones: Rucio may delete them. Raises Locked at the first
        that a rule holds there, and RucioFault."""
        for start in range(0, len(lfns), MOST):
            some = [
                {"scope": self._scope, "name": lfn, "rse": rse}
                for lfn in lfns[start : start + MOST]
            ]
            try:
                await self._call(f"tombstones at {rse}", partial(_bury, some))
            except RucioFault as fault:
                if fault.name != "ReplicaIsLocked":
                    raise
                names = (lfn for lfn in lfns if f"{self._scope}:{lfn} " in str(fault))
                raise Locked(next(names, lfns[start])) from fault

    async def renounce(self, rse: str, lfns: Sequence[str]) -> None:
        """Say that replicas are no more at an RSE: what a rule holds there it would have transferred."""
        await self._set(rse, lfns, "U", "renounced")

    async def regain(self, rse: str, lfns: Sequence[str]) -> None:
        """Say that replicas are at an RSE after all."""
        await self._set(rse, lfns, "A", "regained")

    async def _set(self, rse: str, lfns: Sequence[str], state: str, word: str) -> None:
        for start in range(0, len(lfns), MOST):
            some = [
                {"scope": self._scope, "name": lfn, "state": state}
                for lfn in lfns[start : start + MOST]
            ]
            await self._call(f"replicas at {rse} {word}", partial(_set_states, rse, some))

    async def backlog(self) -> dict[tuple[str, str], int]:
        """Bytes queued for transfer, of whoever's rules, by source RSE and destination RSE. What Rucio
        has not yet chosen a source for is in no queue."""
        told = await self._call("transfer queues", _queues, patient=False)
        return {
            (str(each["src_rse"]), str(each["dst_rse"])): int(
                (each.get("bytes") or {}).get("queued-total") or 0
            )
            for each in told
        }


def _replicas_of(dids: list[dict[str, str]], client: Any) -> list[Mapping[str, Any]]:
    return list(client.list_dataset_replicas_bulk(dids))


def _replicas_at(dids: list[dict[str, str]], rse: str, client: Any) -> list[Mapping[str, Any]]:
    # Its usual order costs it a look at its configuration for each replica.
    return list(client.list_replicas(dids, rse_expression=rse, sort="random"))


def _bury(replicas: list[dict[str, str]], client: Any) -> None:
    client.set_tombstone(replicas)


def _set_states(rse: str, files: list[dict[str, str]], client: Any) -> None:
    client.update_replicas_states(rse, files)


def _queues(client: Any) -> list[Mapping[str, Any]]:
    from rucio.common.constants import HTTPMethod  # there if a client is

    # The library has no method of its own for this question.
    url = f"{client.host}/requests/metrics"
    answer = client._send_request(url, method=HTTPMethod.GET)
    if answer.status_code != 200:
        kind, words = client._get_exception(
            headers=answer.headers, status_code=answer.status_code, data=answer.content
        )
        raise kind(words)
    return list(client._load_json_data(answer))


def _replica(told: Mapping[str, Any]) -> Replica:
    files, length = int(told.get("available_length") or 0), int(told.get("length") or 0)
    size = int(told.get("available_bytes") or 0)
    return Replica(str(told["name"]), str(told["rse"]), files, size, 0 < length == files)
