"""A facility with a computing element, as the tests of the ARC driver see it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from certificates import Authority
from fake_arex import FakeArex

from cmd_daemon.testing import FakeHost, facility_info
from cmd_housekeeping.arc_driver import ArcDriver, ArcFactory
from cmd_housekeeping.settings import ArcSettings


class ArcSite:
    """A fake computing element, its certificates, and drivers over it."""

    def __init__(self, root: Path, version: int = 7) -> None:
        self.root = root
        self.authority = Authority(root / "pki")
        self.cert, self.key = self.authority.issue("person")
        self.token_file = root / "token"
        self.arex = FakeArex(root / "sessions", version)
        self.token_file.write_text(self.arex.token + "\n")
        self.host = FakeHost(root / "state", {"FAR": facility_info("FAR")})

    async def start(self) -> None:
        """Start the computing element."""
        await self.arex.start(self.authority.server_context())

    def settings(self, **changes: Any) -> ArcSettings:
        """The facility's section `arc`."""
        fields: dict[str, Any] = {
            "url": self.arex.url,
            "ca": self.authority.file,
            "cert": self.cert,
            "key": self.key,
            "poll_s": 0.1,
            "grace_s": 1.0,
            "call_s": 20.0,
        }
        return ArcSettings(**{**fields, **changes})

    async def driver(self, **changes: Any) -> ArcDriver:
        """A new, started driver."""
        driver = ArcFactory().create(facility_info("FAR"), self.settings(**changes), self.host)
        await driver.start()
        return driver

    def ledger(self) -> Mapping[str, int]:
        """How often each name really ran."""
        return self.arex.runs
