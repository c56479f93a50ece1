"""Rucio's REST server in gunicorn, and the bootstrap of its database."""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from services.processes import Process, run


class Server:
    """The server on a loopback port; `process` may be stopped and started again."""

    def __init__(self, port: int, venv: Path, env: Mapping[str, str], log: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._venv = venv
        self._env = env
        argv = [str(venv / "bin" / "gunicorn"), "--bind", f"127.0.0.1:{port}"]
        # No --preload: workers would share database connections and answer 500 at random.
        argv += ["--workers", "2", "--threads", "4", "--worker-class", "gthread"]
        argv += ["--no-control-socket", "--timeout", "120", "--graceful-timeout", "5"]
        argv.append("rucio.web.rest.main:application")
        self.process = Process("the Rucio server", argv, log, self.answers, env)

    def bootstrap(self, log: Path) -> None:
        """Make the tables, the base VO and the account root (about 10 s)."""
        program = self._venv / "rucio" / "tools" / "bootstrap.py"
        run([str(self._venv / "bin" / "python"), str(program)], log, env=dict(self._env))

    def answers(self) -> bool:
        """Whether it answers a ping."""
        try:
            with urllib.request.urlopen(f"{self.url}/ping", timeout=5.0) as answer:
                return "version" in json.load(answer)
        except (urllib.error.URLError, OSError, ValueError):
            return False


def environment(home: Path, config: Path) -> dict[str, str]:
    """Ours, with Rucio pointed at the site's configuration."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("RUCIO_")}
    return {**ours, "RUCIO_HOME": str(home), "RUCIO_CONFIG": str(config)}
