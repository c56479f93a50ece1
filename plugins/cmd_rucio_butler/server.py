"""One Rucio server as the driver sees it: its calls in sets."""

import contextlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from cmd_rucio_butler.faults import Kind, RucioFault
from cmd_rucio_butler.naming import owner_of
from cmd_rucio_butler.replicas import MOST, ReplicaCalls

DATE = "%a, %d %b %Y %H:%M:%S UTC"
"""How Rucio writes dates."""

DECLARED_AT_ONCE = 5
"""So many others may declare the same files while we do."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as Rucio tells of it; counts of files by the state of their locks. While it is `INJECT`
    nobody has counted yet, and all are 0. `owner` is whose it is by its meta, "" if not ours."""

    id: str
    name: str
    rse: str
    state: str
    ok: int
    replicating: int
    stuck: int
    error: str
    created_at: datetime
    updated_at: str
    priority: int = 0
    comment: str = ""
    scope: str = ""
    owner: str = ""
    account: str = ""
    expires_at: datetime | None = None

    @property
    def files(self) -> int:
        """Files it is about, as far as counted."""
        return self.ok + self.replicating + self.stuck


@dataclass(frozen=True, slots=True)
class Known:
    """What Rucio has of a file: bytes and Adler-32."""

    size: int
    adler32: str


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to be declared; `kind` and `sidecar` are the metadata that Rubin's tools look for."""

    lfn: str
    size: int
    adler32: str
    kind: str
    sidecar: str


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What Rubin's tools say of a file: its `rubin_butler` and its `rubin_sidecar`."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Unmoved:
    """A file that a rule could not move: so many attempts, and the last one's error."""

    lfn: str
    attempts: int
    error: str


class RucioServer(ReplicaCalls):
    """The calls, for one scope of the server at `url`; about replicas see `ReplicaCalls`."""

    async def rules(self, *, patient: bool = True, **filters: Any) -> list[Rule]:
        """The account's rules, of any scope, that match all filters (columns of a rule,
        `created_after`)."""
        given = {
            name: value.strftime(DATE) if isinstance(value, datetime) else value
            for name, value in filters.items()
        }
        given["account"] = self._account
        told = await self._call(
            "rules listed",
            lambda client: list(client.list_replication_rules(given)),
            patient=patient,
        )
        return [_rule(each) for each in told]

    async def rules_of(self, name: str, *, patient: bool = True) -> list[Rule]:
        """The account's rules for one dataset."""
        return await self.rules(patient=patient, scope=self._scope, name=name)

    async def rule(self, identity: str) -> Rule | None:
        """One rule; None if Rucio has none of this id."""
        try:
            return _rule(
                await self._call(
                    f"rule {identity}", lambda client: client.get_replication_rule(identity)
                )
            )
        except RucioFault as fault:
            if fault.kind is Kind.GONE:
                return None
            raise

    async def add_rule(self, name: str, rse: str, **options: Any) -> str | None:
        """Make a rule for one copy of a dataset at an RSE; its id, or None if there is one already."""
        did = [{"scope": self._scope, "name": name}]
        try:
            made = await self._call(
                f"rule for {name} at {rse}",
                lambda client: client.add_replication_rule(did, 1, rse, **options),
            )
        except RucioFault as fault:
            if fault.kind is Kind.DONE:
                return None
            raise
        return str(made[0])

    async def update_rule(self, identity: str, **options: Any) -> bool:
        """Change a rule; False if there is none any more."""
        try:
            await self._call(
                f"rule {identity} changed",
                lambda client: client.update_replication_rule(identity, options),
            )
        except RucioFault as fault:
            if fault.kind is Kind.GONE:
                return False
            raise
        return True

    async def unmoved(self, rule: Rule, most: int) -> list[Unmoved]:
        """The files a stuck rule could not move; of the first `most` the transfer service's own words."""
        scope = self._scope

        def look(client: Any) -> list[Unmoved]:
            told = client.examine_replication_rule(rule.id)
            found = []
            for number, each in enumerate(told.get("transfers") or []):
                error = str(each.get("last_error") or rule.error or "no reason was told")
                if number < most:
                    with contextlib.suppress(Exception):  # else the words of the rule have to do
                        history = client.list_request_history_by_did(each["name"], rule.rse, scope)
                        error = str(dict(history).get("err_msg") or error)
                found.append(Unmoved(str(each["name"]), int(each.get("attempts") or 0), error))
            return found

        return await self._call(f"rule {rule.id} examined", look)

    async def known_files(self, lfns: Sequence[str]) -> dict[str, Known]:
        """What Rucio has of these files, by name."""
        scope = self._scope
        known: dict[str, Known] = {}
        for start in range(0, len(lfns), MOST):
            dids = [{"scope": scope, "name": lfn} for lfn in lfns[start : start + MOST]]
            for each in await self._call(
                "files looked up",
                partial(_metadata_of, dids, "DID_COLUMN"),
            ):
                if each.get("bytes") is not None:
                    known[str(each["name"])] = Known(
                        int(each["bytes"]), str(each.get("adler32") or "").lower()
                    )
        return known

    async def sidecars(self, lfns: Sequence[str]) -> dict[str, Sidecar]:
        """What Rubin's tools have said of files, by name; nothing of those they have said nothing of."""
        scope = self._scope
        told: dict[str, Sidecar] = {}
        for start in range(0, len(lfns), MOST):
            dids = [{"scope": scope, "name": lfn} for lfn in lfns[start : start + MOST]]
            for each in await self._call("sidecars read", partial(_metadata_of, dids, "JSON")):
                if each.get("rubin_butler") or each.get("rubin_sidecar"):
                    text = str(each.get("rubin_sidecar") or "")
                    told[str(each["name"])] = Sidecar(str(each.get("rubin_butler") or ""), text)
        return told

    async def add_files(self, rse: str, files: Iterable[NewFile]) -> None:
        """Declare files that lie at an RSE, at most 1000; repeated it does nothing. Rucio silently
        keeps what it had if they differ: compare before."""
        scope = self._scope
        told = [
            {
                "scope": scope,
                "name": each.lfn,
                "bytes": each.size,
                "adler32": each.adler32,
                "meta": {"rubin_butler": each.kind, "rubin_sidecar": each.sidecar},
            }
            for each in files
        ]
        what = f"{len(told)} files declared at {rse}"
        for _ in range(DECLARED_AT_ONCE):
            with contextlib.suppress(Existing):  # somebody has just declared some: once more
                await self._existing(what, lambda client: client.add_replicas(rse, told))
                return
        await self._call(what, lambda client: client.add_replicas(rse, told))

    async def dataset(self, name: str) -> Mapping[str, Any] | None:
        """A dataset or container with `open`; None if there is none."""
        scope = self._scope
        try:
            return dict(
                await self._call(f"dataset {name}", lambda client: client.get_did(scope, name))
            )
        except RucioFault as fault:
            if fault.kind is Kind.GONE:
                return None
            raise

    async def content(self, name: str) -> dict[str, Known]:
        """The files of a dataset by name; none if there is no such dataset."""
        scope = self._scope
        try:
            told = await self._call(
                f"content of {name}", lambda client: list(client.list_files(scope, name))
            )
        except RucioFault as fault:
            if fault.kind is Kind.GONE:
                return {}
            raise
        return {
            str(each["name"]): Known(int(each["bytes"]), str(each["adler32"] or "").lower())
            for each in told
        }

    async def add_dataset(self, name: str) -> None:
        """Make a dataset to which files can only be added; one that is there is left as it is."""
        scope = self._scope
        with contextlib.suppress(Existing):
            await self._existing(
                f"dataset {name} made",
                lambda client: client.add_dataset(scope, name, statuses={"monotonic": True}),
            )

    async def add_container(self, name: str) -> None:
        """Make a container; one that is there is left as it is."""
        scope = self._scope
        with contextlib.suppress(Existing):
            await self._existing(
                f"container {name} made",
                lambda client: client.add_container(scope, name, statuses={"monotonic": True}),
            )

    async def attach(self, name: str, children: Sequence[str]) -> None:
        """Put files into a dataset, or datasets into a container; those in it already may be among
        them."""
        scope = self._scope
        for start in range(0, len(children), MOST):
            attachment = {
                "scope": scope,
                "name": name,
                "dids": [{"scope": scope, "name": c} for c in children[start : start + MOST]],
            }
            with contextlib.suppress(Existing):
                await self._existing(
                    f"content added to {name}",
                    partial(_attach, attachment),
                )

    async def close_dataset(self, name: str) -> None:
        """Say that a dataset is complete; one that is closed already is left as it is."""
        scope = self._scope
        try:
            await self._call(f"dataset {name} closed", lambda client: client.close(scope, name))
        except RucioFault as fault:
            if fault.name not in ("UnsupportedStatus", "UnsupportedOperation"):
                raise
            found = await self.dataset(name)
            if found is None or found.get("open"):
                raise

    async def set_metadata(self, name: str, pairs: Mapping[str, str]) -> None:
        """Give a dataset metadata."""
        scope = self._scope

        def put(client: Any) -> None:
            for key, value in pairs.items():
                client.set_metadata(scope, name, key, value)

        await self._call(f"metadata of {name} set", put)

    async def metadata(self, name: str) -> Mapping[str, Any]:
        """A dataset's own metadata."""
        scope = self._scope
        return dict(
            await self._call(
                f"metadata of {name}",
                lambda client: client.get_metadata(scope, name, plugin="JSON"),
            )
        )

    async def datasets_named(self, pattern: str) -> list[str]:
        """The datasets whose names match (`*` for any characters)."""
        scope, wanted = self._scope, [{"name": pattern}]
        told = await self._call(
            f"datasets {pattern} listed",
            lambda client: list(client.list_dids(scope, wanted, did_type="dataset")),
            patient=False,
        )
        return sorted(str(each) for each in told)

    async def rules_of_file(self, lfn: str) -> list[Rule]:
        """All rules, of whatever account, that a file is under."""
        scope = self._scope
        told = await self._call(
            f"rules of {lfn}",
            lambda client: list(client.list_associated_rules_for_file(scope, lfn)),
        )
        return [_rule(each) for each in told]

    async def _existing(self, what: str, function: Callable[[Any], T]) -> T:
        try:
            return await self._call(what, function)
        except RucioFault as fault:
            if fault.kind is Kind.DONE:
                raise Existing from fault
            raise


class Existing(Exception):
    """What was to be made is there already."""


def _metadata_of(dids: list[dict[str, str]], plugin: str, client: Any) -> list[Mapping[str, Any]]:
    return list(client.get_metadata_bulk(dids, plugin=plugin))


def _attach(attachment: Mapping[str, Any], client: Any) -> None:
    client.attach_dids_to_dids([attachment], ignore_duplicate=True)


def _rule(told: Mapping[str, Any]) -> Rule:
    return Rule(
        id=str(told["id"]),
        name=str(told["name"]),
        rse=str(told["rse_expression"]),
        state=str(told["state"]),
        ok=int(told.get("locks_ok_cnt") or 0),
        replicating=int(told.get("locks_replicating_cnt") or 0),
        stuck=int(told.get("locks_stuck_cnt") or 0),
        error=str(told.get("error") or ""),
        created_at=_date(told.get("created_at")),
        updated_at=str(told.get("updated_at") or ""),
        priority=int(told.get("priority") or 0),
        comment=str(told.get("comments") or ""),
        scope=str(told.get("scope") or ""),
        owner=owner_of(told.get("meta")),
        account=str(told.get("account") or ""),
        expires_at=_date(told["expires_at"]) if told.get("expires_at") else None,
    )


def _date(value: Any) -> datetime:
    """A date as Rucio, or its client, tells it; the beginning of time if it is none."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC)
    if isinstance(value, str) and re.match(r"\w{3}, ", value):
        with contextlib.suppress(ValueError):
            return datetime.strptime(value, DATE).replace(tzinfo=UTC)
    return datetime(1970, 1, 1, tzinfo=UTC)
