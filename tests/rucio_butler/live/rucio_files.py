"""Files with Rubin's metadata, registered where a test wants them, and what became of them."""

import json
import uuid
import zlib
from typing import Any

import stomp
from rucio.client import Client
from rucio_site import SCOPE, Site, until


class Dataset:
    """Fresh files at one RSE in one dataset of Rucio."""

    def __init__(self, site: Site, rse: str = "USDF_DISK", files: int = 3) -> None:
        self.site = site
        self.client: Client = site.client()
        self.name = f"Dataset/{uuid.uuid4().hex}"
        self.sidecars = {}
        registered = []
        for number in range(files):
            name = f"{self.name.removeprefix('Dataset/')}/{number:03d}.fits"
            data = f"{name} ".encode() * 50
            path = site.path(rse, SCOPE, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            self.sidecars[name] = json.dumps({"id": str(uuid.uuid4()), "run": "u/me/run"})
            registered.append(
                {
                    "scope": SCOPE,
                    "name": name,
                    "bytes": len(data),
                    "adler32": f"{zlib.adler32(data):08x}",
                    "meta": {"rubin_butler": "data_product", "rubin_sidecar": self.sidecars[name]},
                }
            )
        self.names = sorted(self.sidecars)
        self.dids = [{"scope": SCOPE, "name": name} for name in self.names]
        self.client.add_replicas(rse, registered)
        self.client.add_dataset(SCOPE, self.name, statuses={"monotonic": True})
        self.client.attach_dids(SCOPE, self.name, self.dids)

    def rule(self, rse: str, **options: Any) -> str:
        """A rule for the dataset; its id."""
        dids = [{"scope": SCOPE, "name": self.name}]
        [rule] = self.client.add_replication_rule(dids, 1, rse, **options)
        return str(rule)

    def becomes(self, rule: str, state: str) -> dict[str, Any]:
        """Run rounds until the rule has this state; the rule."""

        def seen() -> dict[str, Any] | None:
            now: dict[str, Any] = self.client.get_replication_rule(rule)
            return now if now["state"] == state else None

        found: dict[str, Any] = self.site.daemons.rounds_until(seen, f"a rule in state {state}")
        return found

    def bytes_at(self, rse: str) -> dict[str, bytes]:
        """What lies in the directory of the RSE, by name."""
        paths = {name: self.site.path(rse, SCOPE, name) for name in self.names}
        return {name: path.read_bytes() for name, path in paths.items() if path.exists()}

    def error_of(self, name: str, rse: str) -> str:
        """The reason that the transfer service gave for a file's last failed transfer."""
        history = self.client.list_request_history_by_did(name, rse, SCOPE)
        return str(history["err_msg"])


class Ear(stomp.ConnectionListener):
    """Hears the messages of Hermes."""

    def __init__(self, site: Site) -> None:
        where = site.addresses["stomp"]
        self.heard: list[dict[str, Any]] = []
        self._listens = False
        self._line = stomp.Connection12([(where["host"], where["port"])])
        self._line.set_listener("", self)
        self._line.connect(where["username"], where["password"], wait=True)
        self._line.subscribe(where["destination"], id="ear", ack="auto", headers={"receipt": "on"})
        until(lambda: self._listens, "a subscription")

    def on_receipt(self, frame: Any) -> None:
        self._listens = True

    def on_message(self, frame: Any) -> None:
        self.heard.append(json.loads(frame.body))

    def of(self, event_type: str) -> list[dict[str, Any]]:
        """The payloads of one type of event."""
        return [said["payload"] for said in self.heard if said["event_type"] == event_type]

    def close(self) -> None:
        self._line.disconnect()
