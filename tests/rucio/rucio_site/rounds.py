"""Rucio's daemons in one process, run one after the other in rounds. Runs in Rucio's own Python.

python rounds.py PORT

GET  /        {"rounds", "every_s", "off", "daemons", "errors"}
POST /round   {"daemons": [NAME...] or null, "rounds": N} -> {"seconds": {NAME: S}, "errors": {NAME: TEXT}}
POST /pace    {"every_s": S or null}: rounds by themselves, so many seconds apart; null pauses
POST /off     {"daemons": [NAME...]}: leave these out until told otherwise
"""

import functools
import json
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from rucio.daemons.abacus import account, collection_replica
from rucio.daemons.abacus import rse as abacus_rse
from rucio.daemons.conveyor import finisher, poller, stager, submitter
from rucio.daemons.hermes import hermes
from rucio.daemons.judge import cleaner, evaluator, injector, repairer
from rucio.daemons.reaper import reaper
from rucio.daemons.transmogrifier import transmogrifier
from rucio.daemons.undertaker import undertaker


class NoWaiting(threading.Event):
    """A stop signal that nobody waits for: daemons wait a second or ten for their peers on it."""

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


for module in (evaluator, injector, repairer, cleaner, transmogrifier, collection_replica, hermes):
    module.graceful_stop = NoWaiting()

# In the order in which work goes through them.
DAEMONS: dict[str, Callable[[], Any]] = {
    "transmogrifier": functools.partial(transmogrifier.transmogrifier, once=True),
    "injector": functools.partial(injector.rule_injector, once=True),
    "evaluator": functools.partial(evaluator.re_evaluator, once=True),
    "repairer": functools.partial(repairer.rule_repairer, once=True),
    "stager": functools.partial(stager.stager, once=True),
    "submitter": functools.partial(
        submitter.submitter, once=True, partition_wait_time=0, bulk=1000, group_bulk=200
    ),
    "poller": functools.partial(poller.poller, once=True, partition_wait_time=0, older_than=0),
    "finisher": functools.partial(finisher.finisher, once=True, partition_wait_time=0),
    "cleaner": functools.partial(cleaner.rule_cleaner, once=True),
    "undertaker": functools.partial(undertaker.undertaker, once=True),
    "reaper": functools.partial(
        reaper.reaper,
        rses=[],
        include_rses=None,
        exclude_rses=None,
        once=True,
        greedy=True,
        delay_seconds=0,
        sleep_time=60,
    ),
    "abacus-account": functools.partial(account.account_update, once=True),
    "abacus-rse": functools.partial(abacus_rse.rse_update, once=True),
    "abacus-dataset": functools.partial(collection_replica.collection_replica_update, once=True),
    "hermes": functools.partial(hermes.hermes, once=True),
}


class Rounds:
    """The daemons; all of them run on the thread that calls `work`."""

    def __init__(self) -> None:
        self.orders: queue.Queue[tuple[list[str] | None, int, Future[dict[str, Any]]]] = (
            queue.Queue()
        )
        self.every_s: float | None = None
        # In production it never touches the storage that Butlers own, whatever expires.
        self.off: frozenset[str] = frozenset({"reaper"})
        self.rounds = 0
        self.errors: dict[str, str] = {}

    def work(self) -> None:
        """Do what is ordered, and rounds at the pace, for ever."""
        due = 0.0
        while True:
            every_s = self.every_s
            wait = 0.2 if every_s is None else max(0.001, min(0.2, due - time.monotonic()))
            try:
                names, number, done = self.orders.get(timeout=wait)
            except queue.Empty:
                if every_s is not None and time.monotonic() >= due:
                    self.round(None)
                    due = time.monotonic() + every_s
                continue
            answer: dict[str, Any] = {}
            for _ in range(number):
                answer = self.round(names)
            done.set_result(answer)

    def order(self, names: list[str] | None, number: int) -> dict[str, Any]:
        """Have rounds made and wait for them; with 0 for the end of the one under way."""
        done: Future[dict[str, Any]] = Future()
        self.orders.put((names, number, done))
        return done.result()

    def round(self, names: list[str] | None) -> dict[str, Any]:
        """One round of all daemons that are not off, or of the named ones."""
        seconds, errors = {}, {}
        for name in names if names is not None else [n for n in DAEMONS if n not in self.off]:
            begun = time.monotonic()
            try:
                DAEMONS[name]()
            except (Exception, SystemExit) as problem:  # noqa: BLE001 - a daemon's fall is a result
                errors[name] = "".join(traceback.format_exception(problem)[-3:])
                print(f"{name}: {errors[name]}", file=sys.stderr, flush=True)
            seconds[name] = round(time.monotonic() - begun, 3)
        self.rounds += 1
        self.errors = errors
        return {"seconds": seconds, "errors": errors}


class Handler(BaseHTTPRequestHandler):
    """The questions of the site."""

    rounds: Rounds

    def do_GET(self) -> None:
        mine = self.rounds
        self._answer(
            200,
            {
                "rounds": mine.rounds,
                "every_s": mine.every_s,
                "off": sorted(mine.off),
                "daemons": list(DAEMONS),
                "errors": mine.errors,
            },
        )

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        unknown = set(body.get("daemons") or ()) - set(DAEMONS)
        if unknown:
            self._answer(400, {"message": f"no such daemons: {sorted(unknown)}"})
        elif self.path == "/round":
            self._answer(200, self.rounds.order(body.get("daemons"), body.get("rounds", 1)))
        elif self.path == "/pace":
            self.rounds.every_s = body.get("every_s")
            self._answer(200, self.rounds.order([], 0))
        elif self.path == "/off":
            self.rounds.off = frozenset(body.get("daemons") or ())
            self._answer(200, {})
        else:
            self._answer(404, {})

    def log_message(self, *args: Any) -> None:
        """Nothing."""

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    """Serve until killed."""
    rounds = Handler.rounds = Rounds()
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    rounds.work()


if __name__ == "__main__":
    main()
