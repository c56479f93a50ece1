"""The transfer service `fts.py` as a process of the site."""

import sys
from pathlib import Path
from typing import Any

from services.processes import Process, free_port, listens

from rucio_site.rest import ask


class Transfers:
    """The service; `process` may be stopped and started again: it forgets its jobs then."""

    def __init__(self, log: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        program = Path(__file__).with_name("fts.py")
        argv = [sys.executable, str(program), str(port)]
        self.process = Process("the transfer service", argv, log, lambda: listens(port))

    def fault(self, text: str, **fault: Any) -> None:
        """Let the files whose URLs hold `text` suffer: see `fts.py` for what a fault can be."""
        ask("POST", f"{self.url}/fault", {text: fault})

    def faults(self) -> dict[str, Any]:
        """The faults, with the number of files each has `hit`."""
        answer: dict[str, Any] = ask("GET", f"{self.url}/fault")
        return answer

    def clear(self) -> None:
        """Forget all faults."""
        ask("DELETE", f"{self.url}/fault")
